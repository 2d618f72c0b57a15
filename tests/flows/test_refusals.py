"""Flows that would write where they must not are refused on their first lines: no cluster is asked, no file touched."""

import shutil
from pathlib import Path

import pytest

from flows.evaluate_model import evaluate_model
from flows.prepare_dataset import prepare_dataset
from flows.segment_scans import segment_scans
from flows.train_model import train_model
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.errors import ConfigError
from tests.conftest import MODEL, PREPARATION

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]

AT_ONCE = SegmentationConfig(settle_minutes=0)


def _all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("scans", "output", "reason"),
    [
        ("frames", "frames/out", "taken for scans"),
        ("frames", "frames", "taken for scans"),
        ("frames", ".", "could replace them"),
        ("link", ".", "could replace them"),
        ("frames", "link/out", "taken for scans"),
        ("frames", "elsewhere", r"no run of ours wrote \(masks/\)"),
    ],
)
def test_an_output_that_could_overwrite_anything_is_refused(
    phantoms: Path, tmp_path: Path, scans: str, output: str, reason: str
) -> None:
    """Scans and output that lie in each other, by links too, and folders of somebody else's: nothing is touched."""
    source = tmp_path / "source"
    shutil.copytree(phantoms, source)
    (source / "link").symlink_to(source / "frames")
    shutil.copytree(phantoms / "masks", source / "elsewhere" / "masks")
    before = _all_bytes(source)
    with pytest.raises(ConfigError, match=reason):
        segment_scans("no model is asked for", str(source / scans), str(source / output), segmentation=AT_ONCE)
    assert _all_bytes(source) == before


@pytest.mark.parametrize("flow", ["prepare", "train", "evaluate"])
def test_no_flow_writes_among_files_of_others(phantoms: Path, tmp_path: Path, flow: str) -> None:
    """Datasets, bundles and evaluations, too, go to empty folders or over their like only."""
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    shutil.copytree(phantoms, source)
    before = _all_bytes(source)
    if flow == "train":
        prepare_dataset(str(phantoms), str(dataset), preparation=PREPARATION)
    calls = {
        "prepare": lambda: prepare_dataset(str(phantoms), str(source), preparation=PREPARATION),
        "train": lambda: train_model(str(dataset), str(source), model=MODEL),
        "evaluate": lambda: evaluate_model("no model is asked for", str(dataset), str(source)),
    }
    with pytest.raises(ConfigError, match=r"no run of ours wrote \(frames/, lungs/, masks/\)"):
        calls[flow]()
    assert _all_bytes(source) == before
