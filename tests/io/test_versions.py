"""Which code and which libraries made an output."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import tasks
from tasks.io.versions import LIBRARIES, code_version, library_versions

PACKAGE = Path(tasks.__file__).parent


def _version_of(folder: Path) -> str:
    """Return what a fresh process says of the copy of the package in a folder."""
    script = "from tasks.io.versions import code_version; print(code_version())"
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {[str(folder), *sys.path]!r}; {script}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout.strip()


def test_code_version_is_the_release_and_a_digest() -> None:
    """The version starts with the installed release and ends with twelve digits of the sources' sha256."""
    release = re.escape(importlib.metadata.version("lung-lesion-workflow"))
    assert re.fullmatch(rf"{release}\+[0-9a-f]{{12}}", code_version())


def test_edited_code_has_another_version(tmp_path: Path) -> None:
    """A copy of the package has its version wherever it lies; one changed line, in any module, makes another."""
    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE, copy / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    assert _version_of(copy) == code_version()
    with (copy / "tasks" / "core" / "metrics.py").open("a") as file:
        file.write("# edited\n")
    assert _version_of(copy) != code_version()


def test_library_versions_are_those_installed() -> None:
    """Python and every library that decides a result are named with the version that runs."""
    versions = library_versions()
    assert set(versions) == {"python", *LIBRARIES}
    assert versions["python"] == sys.version.split()[0]
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert all(versions.values())
