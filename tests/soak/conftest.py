"""What the attacks share: scans enough to be interrupted in, and places for outputs."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.io import storage
from tests.emulators import BUCKET
from tests.phantoms import write_phantoms

N_SCANS = 600
N_KILLABLE = 240
"""Fewer where each of twenty kills costs a run."""


@pytest.fixture(scope="session")
def many_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices enough for a run to be killed in."""
    folder = tmp_path_factory.mktemp("many-scans")
    write_phantoms(folder, n_patients=1, n_slices=N_SCANS, size_px=96, first_patient=70)
    return folder / "frames"


@pytest.fixture(scope="session")
def killable_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices for runs that are killed again and again."""
    folder = tmp_path_factory.mktemp("killable-scans")
    write_phantoms(folder, n_patients=1, n_slices=N_KILLABLE, size_px=96, first_patient=70)
    return folder / "frames"


@pytest.fixture(params=["file", "gs"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the outputs go."""
    if request.param == "file":
        yield str(tmp_path / "outputs")
        return
    request.getfixturevalue("object_stores")
    uri = f"gs://{BUCKET}/{uuid.uuid4().hex}"
    yield uri
    storage.remove_tree(uri)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the runs' own words go; pytest keeps it when a test fails."""
    return tmp_path / "runs.log"
