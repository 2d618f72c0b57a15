"""What is installed is what was locked, and importing the core drags nothing heavy in."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from tasks.runtime.doctor import drifted_pins

ROOT = Path(__file__).parents[1]


def test_no_pin_has_drifted() -> None:
    """Every library has the version that pyproject.toml pins."""
    assert drifted_pins() == []


def test_every_direct_dependency_is_pinned_exactly() -> None:
    """No direct dependency floats, so that last night's run can be repeated."""
    text = (ROOT / "pyproject.toml").read_text()
    lists = re.findall(r"^(?:dependencies|dev) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert len(lists) == 2
    for line in "".join(lists).splitlines():
        assert re.match(r'\s+"[\w.\[\],-]+==[\w.]+"', line), line


def test_lock_has_hashes_and_no_address() -> None:
    """The lock names every package by hash and no place to download it from."""
    lock = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"^[\w.-]+(?:\[[^\]]*\])?==", lock, re.MULTILINE)
    assert len(packages) > 100
    assert len(re.findall(r"--hash=sha256:", lock)) >= len(packages)
    assert "://" not in lock


def test_no_process_waits_for_a_grammar_that_nobody_asks() -> None:
    """Where rfc3987-syntax is installed every import of Ray or Prefect builds its grammar, which takes a second."""
    for lock in (ROOT / "requirements.lock", *(ROOT / "infra" / "docker").glob("*.lock")):
        assert "rfc3987-syntax==" not in lock.read_text(), lock.name


def test_sqlalchemy_is_one_that_prefect_schedules_with() -> None:
    """SQLAlchemy is 2.0 as pinned, in every lock and installed: with 2.1 no schedule of Prefect 3.8.8 fires."""
    files = [ROOT / "pyproject.toml", ROOT / "requirements.lock", *(ROOT / "infra" / "docker").glob("*.lock")]
    pinned = {path.name: re.findall(r"\bsqlalchemy==([\w.]+)", path.read_text()) for path in files}
    installed = importlib.metadata.version("sqlalchemy")
    assert installed.startswith("2.0."), f"sqlalchemy is {installed}; pin 2.0.x, or Prefect starts no nightly run"
    assert pinned == {path.name: [installed] for path in files}


def test_core_imports_nothing_heavy() -> None:
    """A fresh process that imports the core has loaded neither TensorFlow, Ray, Prefect nor fsspec."""
    code = (
        "import importlib, pkgutil, sys, tasks.core as core\n"
        "for module in pkgutil.iter_modules(core.__path__, 'tasks.core.'):\n"
        "    if module.name != 'tasks.core.augment': importlib.import_module(module.name)\n"
        "heavy = ('tensorflow', 'ray', 'prefect', 'fsspec', 'albumentations')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_flows_do_not_load_tensorflow() -> None:
    """The process that drives the flows leaves TensorFlow to the workers."""
    code = "import sys, flows.__main__; print([m for m in ('tensorflow', 'segmentation_models') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_wheel_holds_every_file_of_the_packages() -> None:
    """Templates, vendored files and their licences are installed with the modules that read them."""
    held = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    templates = ROOT / "tasks" / "core" / "pages" / "templates"
    wanted = {str(path.relative_to(ROOT)) for path in templates.rglob("*") if path.is_file()}
    assert "tasks/core/pages/templates/vendor/niivue/LICENSE" in wanted
    assert wanted <= held
