import subprocess
import sys

PROBE = """
import importlib, pkgutil, random, sys
import numpy as np
state = random.getstate(), np.random.get_state(legacy=False)["state"]["key"].copy()
import tasks.core
names = [module.name for module in pkgutil.walk_packages(tasks.core.__path__, "tasks.core.")]
for name in names:
    importlib.import_module(name)
assert len(names) > 10, names
assert random.getstate() == state[0]
assert (np.random.get_state(legacy=False)["state"]["key"] == state[1]).all()
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""
HEAVY = ("tensorflow", "keras", "tf_keras", "segmentation_models", "ray", "prefect", "fsspec", "pyarrow", "pandas")


def test_core_imports_neither_engine_nor_storage_nor_touches_randomness() -> None:
    """In a fresh process, importing all of `tasks.core` loads none of the heavy libraries and draws no number."""
    probe = subprocess.run([sys.executable, "-c", PROBE, *HEAVY], capture_output=True, text=True, check=False)
    assert probe.returncode == 0, probe.stderr
    assert probe.stdout.split() == []


def test_a_command_does_not_wait_for_what_another_needs() -> None:
    """Segmentation starts without the libraries of training and figures, which take seconds to import."""
    unwanted = "{'matplotlib', 'scipy', 'pandas', 'ray.data', 'ray.train', 'tensorflow', 'albumentations'}"
    program = f"import sys, flows.segment_scans; print(sorted({unwanted} & sys.modules.keys()))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
