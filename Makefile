# Targets others call: setup demo test lint format bench soak. All do their own set-up; the environment is .venv.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup demo test lint format bench soak lock sbom clean

setup: $(STAMP)

# uv comes out of the same locked and hashed list as everything else; pip only brings it in.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	sed -n '/^uv==/,/^ *# via/p' requirements.lock > $(VENV)/uv.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: $(STAMP)
	$(BIN)/lesions demo

test: $(STAMP)
	$(BIN)/python -m tests.lanes

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

soak: $(STAMP)
	$(BIN)/pytest -m soak

# requirements.lock is what runs here, tests included; infra/docker holds what each image runs, at the same versions.
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11
COMPILE_IMAGE = $(COMPILE) --no-annotate -c requirements.lock

lock: $(STAMP)
	$(COMPILE) --extra dev pyproject.toml -o requirements.lock
	sed -n 's/^\(editables\|uv\)==/&/p' requirements.lock
	$(COMPILE_IMAGE) pyproject.toml -o infra/docker/runtime.lock
	$(COMPILE_IMAGE) --extra gpu pyproject.toml -o infra/docker/gpu.lock
	$(COMPILE_IMAGE) --extra kubernetes --override infra/docker/flow-leaves-out.txt pyproject.toml \
	  -o infra/docker/flow.lock

sbom: $(STAMP)
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json $(BIN)/python

clean:
	rm -rf $(VENV)
