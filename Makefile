# Targets others call: setup demo test lint format bench soak. All do their own set-up; the environment is .venv.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup demo test lint format bench soak lock clean

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
	$(BIN)/pytest

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

lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --extra dev --python-version 3.11 pyproject.toml -o requirements.lock
	sed -n 's/^\(editables\|uv\)==/&/p' requirements.lock

clean:
	rm -rf $(VENV)
