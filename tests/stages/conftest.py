"""What the engine's tests share."""

from pathlib import Path

import pytest

from tasks.stages.segmentation_run import Run
from tests.stages.bright import bright_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run without a network, over an empty folder."""
    (tmp_path / "scans").mkdir()
    return bright_run((tmp_path / "scans").as_uri(), (tmp_path / "output").as_uri())
