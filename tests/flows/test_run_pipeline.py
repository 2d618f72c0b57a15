import shutil
from pathlib import Path

import pytest

from flows.run_pipeline import run_pipeline
from tasks.core.config import SegmentationConfig, TrainingConfig
from tasks.core.errors import IncompleteError
from tests.conftest import MILD, MODEL, PREPARATION

pytestmark = [pytest.mark.ray, pytest.mark.tf, pytest.mark.usefixtures("ray_session", "prefect_server")]

BRIEF = TrainingConfig(epochs=1, batch_size=8)


def test_pipeline_writes_all_four_outputs(phantoms: Path, new_scans: Path, tmp_path: Path) -> None:
    """From labelled slices to a scored bundle and masks of new scans, each in its folder, finished by its card."""
    run_pipeline(
        str(phantoms),
        str(tmp_path),
        str(new_scans),
        preparation=PREPARATION,
        model=MODEL,
        training=BRIEF,
        augment=MILD,
        segmentation=SegmentationConfig(settle_minutes=0),
    )
    for card in (
        "dataset/dataset.json",
        "model/model.json",
        "evaluation/metrics.json",
        "evaluation/report.html",
        "segmentation/manifest.json",
    ):
        assert (tmp_path / card).exists(), card


def test_pipeline_stops_or_goes_on_by_the_tolerated_failures(phantoms: Path, tmp_path: Path) -> None:
    """One bad slice stops the pipeline after preparation, unless it is tolerated: then all is made, but not green."""
    source = tmp_path / "source"
    shutil.copytree(phantoms, source)
    (source / "frames" / "phantom_000_0.png").write_bytes(b"")
    with pytest.raises(IncompleteError, match="training was not started"):
        run_pipeline(str(source), str(tmp_path / "strict"), preparation=PREPARATION, model=MODEL, training=BRIEF)
    assert (tmp_path / "strict" / "dataset" / "dataset.json").exists()
    assert not (tmp_path / "strict" / "model").exists()
    lenient = PREPARATION.model_copy(update={"max_failed_fraction": 0.1})
    with pytest.raises(IncompleteError, match="1 slices were set aside"):
        run_pipeline(str(source), str(tmp_path / "lenient"), preparation=lenient, model=MODEL, training=BRIEF)
    assert (tmp_path / "lenient" / "evaluation" / "report.html").exists()
