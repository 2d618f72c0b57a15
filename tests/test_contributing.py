"""The way shown to a new contributor works: its patches are applied to a copy of the sources and tested there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATCHES = re.findall(r"```diff\n(.*?)```", (ROOT / ".github" / "CONTRIBUTING.md").read_text(), re.DOTALL)

CASES = {
    "input format": ("tasks/io/formats/__init__.py", "npz", ["tests/io/test_every_format.py"]),
    "input format, segmented": ("tasks/io/formats/npz.py", "npz", ["tests/stages/test_every_format.py"]),
    "output format": ("tasks/io/formats/writers.py", "mha", ["tests/io/test_every_writer.py"]),
    "output format, written": ("tasks/io/formats/mha_mask.py", "mha", ["tests/stages/test_every_writer.py"]),
    "pixel metric": ("tasks/core/metrics.py", "f2", ["tests/core/test_metrics.py"]),
    "volume metric": ("tasks/core/patient_metrics.py", "predicted_ml", ["tests/core/test_patient_metrics.py"]),
    "rule for the operating point": (
        "tasks/core/operating_rules.py",
        "best_youden",
        ["tests/core/test_operating_rules.py"],
    ),
    "augmentation": ("tasks/core/augment.py", "sharpen", ["tests/core/test_augment.py"]),
}
"""By what is added: a file that its patch changes, the name of the entry, and tests that run over its family."""

BACKBONE = (
    "tasks/core/catalog.py",
    "resnet101",
    ["tests/core/test_catalog.py", "tests/engine/network/test_model.py"],
)


def _apply(patch: str, root: Path) -> None:
    """Apply a patch of context and added lines, which need no line numbers to be read by a person."""
    header, *hunks = re.split(r"^@@.*\n", patch, flags=re.MULTILINE)
    path = root / re.search(r"\+\+\+ b/(\S+)", header).group(1)
    is_new = "--- /dev/null" in header
    assert path.exists() != is_new, f"{path.name} is there already, or no longer"
    source = "" if is_new else path.read_text()
    for hunk in hunks:
        lines = hunk.splitlines()
        before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
        after = "\n".join(line[1:] for line in lines)
        assert is_new or source.count(before) == 1, f"{path.name} no longer holds the context of the patch:\n{before}"
        source = f"{after}\n" if is_new else source.replace(before, after)
    path.write_text(source)


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with every patch applied."""
    root = tmp_path_factory.mktemp("contributed")
    for folder in ("flows", "tasks", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for patch in PATCHES:
        _apply(patch, root)
    return root


def _run_tests(root: Path, tests: Sequence[str], names: Sequence[str]) -> str:
    """Run the tests that have one of the names in theirs, in a copy of the sources; return what pytest printed."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *tests, "-k", " or ".join(names), "-vv", "-p", "no:cacheprovider"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PASSED" in run.stdout, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


@pytest.fixture(scope="module")
def output(patched: Path) -> str:
    """What the tests of every family but the backbones say of the new entries."""
    tests = sorted({test for _, _, tests in CASES.values() for test in tests})
    return _run_tests(patched, tests, sorted({name for _, name, _ in CASES.values()}))


def _require_passed(output: str, changed: str, name: str, tests: Sequence[str]) -> None:
    assert any(f"+++ b/{changed}" in patch for patch in PATCHES)
    for test in tests:
        found = re.findall(rf"^{test}::\S*\[\S*{name}\S*\] (\w+)", output, re.MULTILINE)
        assert found, f"no test of {test} is about {name}:\n{output[-3000:]}"
        assert set(found) == {"PASSED"}, output[-3000:]


@pytest.mark.parametrize("kind", CASES)
def test_new_entry_is_tested_by_being_there(kind: str, output: str) -> None:
    """The family's own tests pass with the new entry, and some of them are about it by name."""
    _require_passed(output, *CASES[kind])


@pytest.mark.tf
def test_new_backbone_is_tested_by_being_there(patched: Path) -> None:
    """The catalogue's and the network's tests pass with it; the latter builds it."""
    changed, name, tests = BACKBONE
    _require_passed(_run_tests(patched, tests, [name]), changed, name, tests)


def test_patches_keep_to_the_style(patched: Path) -> None:
    """What a contributor copies is as `make lint` wants it."""
    changed = sorted({path for patch in PATCHES for path in re.findall(r"^\+\+\+ b/(\S+)", patch, re.MULTILINE)})
    for check in (["check"], ["format", "--check"]):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--no-cache", *changed],
            cwd=patched,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout[-3000:]
