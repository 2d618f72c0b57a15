from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import ModelError
from tasks.core.history import EpochRow, TrainingOutcome
from tasks.core.learning_rate import Plateau
from tasks.core.probability_histogram import CURVE_LEVELS, FalseLesions, ProbabilityHistogram
from tasks.core.quality import QualitySamples
from tasks.core.small_lesions import SmallLesions
from tasks.io.checkpoints import Checkpoint, Checkpoints

QUALITY = QualitySamples(("anna", "ben"), np.full((2, len(CURVE_LEVELS), 5), [np.nan, 0, 1, 2, 0.5], np.float32))
SMALL = SmallLesions(np.arange(60).reshape(12, 5), np.arange(60).reshape(12, 5) * 7)


def _row(epoch: int) -> EpochRow:
    return {"epoch": epoch, "val_dice_per_patient": 0.1 + 0.2, "val_precision": None}


def _checkpoint(n_epochs: int, *, best: int = 1, is_over: bool = False) -> Checkpoint:
    histogram, flipped = (ProbabilityHistogram(np.arange(256), np.arange(256) * n) for n in (2, 3))
    flipped = replace(flipped, false_lesions=FalseLesions(np.arange(len(CURVE_LEVELS)), 4))
    return Checkpoint(
        outcome=TrainingOutcome(
            [_row(n + 1) for n in range(n_epochs)],
            best,
            {"anna": histogram},
            {"anna": flipped} if is_over else {},
            QUALITY,
            {"anna": SMALL},
        ),
        is_over=is_over,
        weights=[np.float32([[1.5, -2]]), np.float32([3])],
        optimizer=[np.int64(7), np.float32([0.1])],
        stopping=Plateau(10, best=-0.3, n_bad=2),
        slowing=Plateau(5),
        learning_rate=1e-4,
    )


def _own(folder: Path, asked: str = "this") -> Checkpoints:
    return Checkpoints.of(folder.as_uri(), asked)


@pytest.mark.parametrize("is_over", [False, True])
def test_a_checkpoint_comes_back_to_the_last_bit(tmp_path: Path, *, is_over: bool) -> None:
    """History, histograms, weights, optimizer and plateaus are those that were put away, infinities and Nones too."""
    put = _checkpoint(3, is_over=is_over)
    _own(tmp_path).publish(put, b"best")
    got = _own(tmp_path).latest()
    assert got is not None
    assert got.outcome.history == put.outcome.history
    assert (got.stopping, got.slowing, got.learning_rate) == (put.stopping, put.slowing, put.learning_rate)
    assert (got.is_over, got.n_epochs, got.outcome.best_epoch) == (is_over, 3, 1)
    np.testing.assert_array_equal(got.outcome.histograms["anna"].healthy, np.arange(256) * 2)
    assert got.outcome.flipped.keys() == put.outcome.flipped.keys()
    for patient, histogram in got.outcome.flipped.items():
        np.testing.assert_array_equal(histogram.healthy, put.outcome.flipped[patient].healthy)
        assert histogram.false_lesions is not None
        assert histogram.false_lesions.n_scans == 4
        np.testing.assert_array_equal(histogram.false_lesions.by_level, np.arange(len(CURVE_LEVELS)))
    assert got.outcome.histograms["anna"].false_lesions is None
    assert got.outcome.quality.patients == QUALITY.patients
    np.testing.assert_array_equal(got.outcome.quality.values, QUALITY.values)
    np.testing.assert_array_equal(got.outcome.small["anna"].n_right, SMALL.n_right)
    np.testing.assert_array_equal(got.outcome.small["anna"].n_false, SMALL.n_false)
    for kept, was in zip([*got.weights, *got.optimizer], [*put.weights, *put.optimizer], strict=True):
        np.testing.assert_array_equal(kept, was)
        assert kept.dtype == was.dtype


def test_the_newest_is_taken_and_what_it_replaces_is_gone(tmp_path: Path) -> None:
    """After three epochs, of which the second is the best, two objects are left: the third and the second's weights."""
    own = _own(tmp_path)
    for n_epochs, best, weights in ((1, 1, b"first"), (2, 2, b"second"), (3, 2, None)):
        own.publish(_checkpoint(n_epochs, best=best), weights)
    newest = own.latest()
    assert newest is not None
    assert newest.n_epochs == 3
    assert own.best_weights(newest.outcome.best_epoch) == b"second"
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {"epoch-00003.npz", "best-00002.weights.h5"}


@pytest.mark.parametrize("asked", ["that", "this "])
def test_another_request_does_not_go_on_from_it(tmp_path: Path, asked: str) -> None:
    """What was asked differently begins anew."""
    _own(tmp_path).publish(_checkpoint(1), b"best")
    assert _own(tmp_path, asked).latest() is None


def test_an_older_epoch_never_replaces_a_newer_one(tmp_path: Path) -> None:
    """Should a straggler publish what lies behind, the newer epoch and its best weights stay."""
    own = _own(tmp_path)
    own.publish(_checkpoint(3, best=3), b"third")
    own.publish(_checkpoint(1, best=1), b"first")
    newest = own.latest()
    assert newest is not None
    assert newest.n_epochs == 3
    assert own.best_weights(newest.outcome.best_epoch) == b"third"


def test_the_result_of_a_training_is_its_best_epoch(tmp_path: Path) -> None:
    """Outcome and weights are the best epoch's; without a finished epoch there is none, and the sentence says where."""
    own = _own(tmp_path)
    with pytest.raises(ModelError, match=r"checkpoints/this holds no epoch\. Train again"):
        own.result()
    own.publish(_checkpoint(1), b"first")
    own.publish(_checkpoint(2), None)
    outcome, weights = own.result()
    assert (len(outcome.history), outcome.best_epoch, weights) == (2, 1, b"first")


def test_no_checkpoint_is_left_when_a_bundle_is_finished(tmp_path: Path) -> None:
    """Those of every training for the bundle go, whatever was asked."""
    for asked in ("this", "that"):
        _own(tmp_path, asked).publish(_checkpoint(1), b"best")
    Checkpoints.remove_all(tmp_path.as_uri())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
