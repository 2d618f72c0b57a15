"""The way shown to a new contributor works: its patches are applied to a copy of the sources and tested there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATCHES = re.findall(r"```diff\n(.*?)```", (ROOT / ".github" / "CONTRIBUTING.md").read_text(), re.DOTALL)

CASES = {
    "metric": ("tasks/core/metrics.py", "tests/core/test_metrics.py", "f2"),
    "backbone": ("tasks/core/catalog.py", "tests/engine/network/test_model.py", "resnet101"),
    "augmentation": ("tasks/core/augment.py", "tests/core/test_augment.py", "blur"),
}


def _apply(patch: str, root: Path) -> None:
    """Apply a patch of context and added lines, which need no line numbers to be read by a person."""
    header, _, body = patch.partition("@@")
    path = root / re.search(r"\+\+\+ b/(\S+)", header).group(1)
    lines = body.splitlines()[1:]
    before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    after = "\n".join(line[1:] for line in lines)
    source = path.read_text()
    assert source.count(before) == 1, f"{path.name} no longer holds the context of the patch:\n{before}"
    path.write_text(source.replace(before, after))


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


@pytest.mark.parametrize("kind", CASES)
def test_new_entry_is_tested_by_being_there(kind: str, patched: Path) -> None:
    """The family's own tests pass with the new entry, and some of them are about it by name."""
    changed, tests, name = CASES[kind]
    assert any(f"+++ b/{changed}" in patch for patch in PATCHES)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", tests, "-k", name, "-vv", "-p", "no:cacheprovider"],
        cwd=patched,
        env={**os.environ, "PYTHONPATH": str(patched)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert re.search(rf"{name}.*PASSED", run.stdout), run.stdout[-3000:]
