"""Versions of the code and the libraries, as provenance of outputs."""

import hashlib
import importlib.metadata
import platform
from functools import cache
from importlib.resources import files

LIBRARIES = ("tensorflow", "segmentation-models", "albumentations", "numpy", "opencv-python-headless", "ray", "prefect")


@cache
def code_version() -> str:
    """Return this package's version and a digest of its sources, which differs for edited code."""
    sources = sorted(files("tasks").rglob("*.py"), key=str)  # type: ignore[attr-defined]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return f"{importlib.metadata.version('lung-lesion-workflow')}+{digest[:12]}"


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that influence results."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}
