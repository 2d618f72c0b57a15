"""What Ray of this machine leaves behind: nothing."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SCRIPT = """
import pathlib, ray, tempfile
from tasks.core.config.compute import ComputeConfig
from tasks.engine.cluster.session import session

with session(ComputeConfig()):
    folder = ray.get(ray.remote(lambda: tempfile.mkstemp()[1]).remote())
    assert pathlib.Path(folder).exists()
"""


@pytest.mark.ray
def test_a_session_leaves_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its own, nor temporary ones of workers, which Ray kills before they could remove them."""
    with tempfile.TemporaryDirectory() as folder:  # short, as sockets need it
        monkeypatch.setenv("TMPDIR", folder)
        subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True)
        assert list(Path(folder).iterdir()) == []
