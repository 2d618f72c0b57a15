import shutil
from pathlib import Path

import pytest

from flows.run_pipeline import run_pipeline
from flows.train_model import train_model
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.learning import TrainingConfig
from tasks.core.errors import ConfigError, IncompleteError
from tasks.core.handles import DatasetHandle, EvaluationHandle, SegmentationHandle
from tasks.runtime.completeness import require_complete, require_enough
from tests.conftest import MODEL, PREPARATION

NOTHING_LOST = DatasetHandle(uri="d", fingerprint="f", n_slices=100, n_failed=0)
ONE_LOST = DatasetHandle(uri="d", fingerprint="f", n_slices=99, n_failed=1)
NOBODY_THERE = ComputeConfig(ray_address="http://127.0.0.1:9")
"""Who asks this cluster ends with another error."""


@pytest.mark.ray
@pytest.mark.server
@pytest.mark.usefixtures("ray_session", "prefect_server")
def test_pipeline_stops_after_preparation_when_too_much_is_lost(phantoms: Path, tmp_path: Path) -> None:
    """One bad slice more than tolerated stops it: the dataset is published, no training is started."""
    source = tmp_path / "source"
    shutil.copytree(phantoms, source)
    (source / "frames" / "phantom_000_0.png").write_bytes(b"")
    with pytest.raises(IncompleteError, match="training was not started"):
        run_pipeline(str(source), str(tmp_path / "out"), preparation=PREPARATION, model=MODEL)
    assert (tmp_path / "out" / "dataset" / "dataset.json").exists()
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server")
def test_a_contradictory_training_is_refused_before_anything_is_prepared(phantoms: Path, tmp_path: Path) -> None:
    """Neither the cluster is asked nor a byte written."""
    frozen = TrainingConfig(freeze_batchnorm=True)
    with pytest.raises(ConfigError, match=r"Set model\.start_from"):
        run_pipeline(str(phantoms), str(tmp_path / "out"), training=frozen, compute=NOBODY_THERE)
    assert not (tmp_path / "out").exists()


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server")
def test_a_missing_dataset_is_refused_before_a_cluster_is_asked(tmp_path: Path) -> None:
    """A wrong address is found by the flow itself."""
    with pytest.raises(ConfigError, match="nowhere"):
        train_model(str(tmp_path / "nowhere"), str(tmp_path / "model"), compute=NOBODY_THERE)


def test_tolerated_failures_let_it_go_on_but_not_end_green() -> None:
    """Up to the tolerated fraction the pipeline goes on; at its end the loss is still an incomplete run."""
    require_enough(ONE_LOST, max_failed_fraction=0.01)
    with pytest.raises(IncompleteError, match=r"1 of 100 slices.*1\.0%.*more than"):
        require_enough(ONE_LOST, max_failed_fraction=0.009)
    with pytest.raises(IncompleteError, match="1 input rejected"):
        require_complete(dataset=ONE_LOST)


def test_everything_used_is_green_and_each_loss_is_named() -> None:
    """Nothing lost raises nothing; what each step lost is in one sentence, with where the list is."""
    evaluation = EvaluationHandle(uri="e", fingerprint="f", n_failed=2)
    segmentation = SegmentationHandle(uri="s", fingerprint="f", counts={"failed": 5}, n_new_failures=3)
    require_complete(dataset=NOTHING_LOST, evaluation=evaluation.model_copy(update={"n_failed": 0}))
    lost = r"2 slices could not be scored.*3 scans newly failed.*s/scans\.parquet"
    with pytest.raises(IncompleteError, match=lost) as caught:
        require_complete(dataset=NOTHING_LOST, evaluation=evaluation, segmentation=segmentation)
    assert caught.value.result == evaluation, "whose Dice a command prints"


def test_known_bad_scans_do_not_redden_a_run() -> None:
    """Failures that are not new leave the run green; the first new one ends that."""
    known = SegmentationHandle(uri="s", fingerprint="f", counts={"failed": 5}, n_new_failures=0)
    assert require_complete(segmentation=known) is None
    with pytest.raises(IncompleteError, match="1 scan newly failed"):
        require_complete(segmentation=known.model_copy(update={"n_new_failures": 1}))
