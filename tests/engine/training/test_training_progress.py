"""Progress over the epochs of several trainings."""

import pyarrow as pa
import pytest

from tasks.core.throughput import StepProgress
from tasks.engine.training.journal import Position
from tasks.engine.training.training_progress import TrainingProgress
from tasks.engine.training.training_run import TrainingRun
from tests.conftest import TRAINING


def _run(name: str) -> TrainingRun:
    index = pa.table({"has_lesion": [True] * 30})
    nothing = dict.fromkeys(("model", "augment", "store", "val", "encoder_weights", "first_weights", "checkpoints"))
    return TrainingRun(name=name, training=TRAINING, train=index, **nothing)  # type: ignore[arg-type]


def test_progress_adds_up_trainings_and_takes_its_rate_from_this_run() -> None:
    """Two trainings of two epochs of four batches of eight; what a checkpoint had done is not this run's pace."""
    reported: list[StepProgress] = []
    now = iter([10.0, 10.0, 14.0, 20.0]).__next__
    progress = TrainingProgress([_run("fold 1 of 2, "), _run("fold 2 of 2, ")], reported.append, now)
    progress.report({"fold 1 of 2, ": None})
    assert not reported
    progress.report({"fold 1 of 2, ": Position(2, 1)})
    progress.report({"fold 1 of 2, ": Position(2, 4, is_validating=True), "fold 2 of 2, ": None})
    progress.end("fold 1 of 2, ")
    progress.report({"fold 2 of 2, ": Position(1, 2)})
    assert [one.n_done for one in reported] == [40, 64, 80]
    assert reported[0].seconds_left is None
    assert reported[1].slices_per_second == pytest.approx(24 / 4)
    assert reported[1].place == "fold 1 of 2, epoch 2 of 2, validation"
    assert reported[2].sentence() == "fold 2 of 2, epoch 1 of 2, step 2 of 4, 80 of 128 slices, 4.0 slices/s, 12 s left"
