import cv2
import numpy as np
import pytest

from tasks.core.calibration import Reliability
from tasks.core.history import CURVES, EpochRow
from tasks.core.pictures.figures import (
    TRAIN_COLOUR,
    VAL_COLOUR,
    precision_recall_figure,
    reliability_figure,
    training_curves,
    volumes_figure,
)

COLUMNS = sorted({column for columns in CURVES.values() for column in columns})


def _history(n_epochs: int = 3) -> list[EpochRow]:
    return [
        EpochRow(epoch=epoch)
        | {f"train_{column}": 0.2 + 0.1 * epoch for column in COLUMNS}
        | {f"val_{column}": 0.1 + 0.1 * epoch for column in COLUMNS}
        for epoch in range(1, n_epochs + 1)
    ]


def _pixels(png: bytes) -> np.ndarray:
    """Return a PNG as RGB."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _has(pixels: np.ndarray, colour: str) -> np.ndarray:
    return np.all(pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)], axis=-1)


@pytest.fixture(scope="module")
def curves() -> dict[str, bytes]:
    """The pictures of the unchanged history."""
    return training_curves(_history())


def test_every_curve_has_its_picture(curves: dict[str, bytes]) -> None:
    """One PNG an entry of the registry, under its name."""
    assert curves.keys() == CURVES.keys()


@pytest.mark.parametrize("name", ["f1", "precision", "recall", "recall_precision", "accuracy", "loss"])
def test_picture_of_the_brief_shows_what_its_name_says(name: str) -> None:
    """The six pictures that were asked for are there, each of the columns in its name."""
    assert CURVES[name] == tuple(name.split("_"))


@pytest.mark.parametrize("name", CURVES)
def test_picture_shows_train_and_validation(name: str, curves: dict[str, bytes]) -> None:
    """Every curve is a picture with a line in each of the two colours."""
    pixels = _pixels(curves[name])
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 500
    assert _has(pixels, TRAIN_COLOUR).sum() > 100
    assert _has(pixels, VAL_COLOUR).sum() > 100


@pytest.mark.parametrize("column", COLUMNS)
def test_pictures_follow_their_columns_and_no_other(column: str, curves: dict[str, bytes]) -> None:
    """Changing one column of the history changes exactly the pictures that are declared to show it."""
    history = _history()
    history[1] = history[1] | {f"train_{column}": 0.9, f"val_{column}": 0.8}
    changed = {name for name, png in training_curves(history).items() if png != curves[name]}
    assert changed == {name for name, columns in CURVES.items() if column in columns}


def test_lines_have_the_colours_of_their_sides(curves: dict[str, bytes]) -> None:
    """Moving a validation value down moves the validation line alone."""
    history = _history()
    history[1] = history[1] | {"val_f1": 0.05}
    before, after = _pixels(curves["f1"]), _pixels(training_curves(history)["f1"])
    np.testing.assert_array_equal(_has(after, TRAIN_COLOUR), _has(before, TRAIN_COLOUR))
    assert not np.array_equal(_has(after, VAL_COLOUR), _has(before, VAL_COLOUR))


def test_undefined_epochs_are_gaps(curves: dict[str, bytes]) -> None:
    """Precision without a prediction is not drawn as zero: around an undefined epoch the line is missing."""
    history = _history()
    history[1] = history[1] | {"val_precision": None}
    before, after = _pixels(curves["precision"]), _pixels(training_curves(history)["precision"])
    assert _has(after, VAL_COLOUR).sum() < 0.6 * _has(before, VAL_COLOUR).sum()
    np.testing.assert_array_equal(_has(after, TRAIN_COLOUR), _has(before, TRAIN_COLOUR))


def test_column_that_is_never_defined_is_no_error() -> None:
    """A model that never predicts a lesion has no precision at all, and its other curve is still drawn."""
    pixels = _pixels(training_curves([row | {"val_precision": None} for row in _history()])["precision"])
    assert _has(pixels, TRAIN_COLOUR).sum() > 300


def test_training_of_one_epoch_has_curves() -> None:
    """A single epoch is a dot, not an error."""
    assert all(_has(_pixels(png), VAL_COLOUR).any() for png in training_curves(_history(1)).values())


def test_same_history_same_bytes(curves: dict[str, bytes]) -> None:
    """Pictures carry neither date nor version, so that a bundle's digests repeat."""
    assert training_curves(_history()) == curves
    assert not any(b"matplotlib" in png.lower() for png in curves.values())


def test_operating_point_is_marked_at_the_nearest_threshold() -> None:
    """Of two points of one curve, the mark stands on the one whose threshold is the bundle's."""
    precision, recall = np.array([0.5, 0.5]), np.array([0.2, 0.9])
    at_first, at_second = (
        _has(
            _pixels(precision_recall_figure(np.array(thresholds), precision, recall, operating_threshold=0.5)),
            VAL_COLOUR,
        )
        for thresholds in ([0.48, 0.9], [0.1, 0.52])
    )
    left, right = np.argwhere(at_first & ~at_second), np.argwhere(at_second & ~at_first)
    width = at_first.shape[1]
    assert left[:, 1].max() < 0.45 * width
    assert right[:, 1].min() > 0.7 * width


def test_thresholds_without_prediction_are_left_out_of_the_curve() -> None:
    """NaN precision is a gap, even where the operating point lies in it or all of the curve does."""
    thresholds, recall = np.array([0.25, 0.5, 0.75]), np.array([1.0, 0.5, 0.0])
    some = precision_recall_figure(thresholds, np.array([0.5, 0.7, np.nan]), recall, operating_threshold=0.75)
    none = precision_recall_figure(thresholds, np.full(3, np.nan), np.full(3, np.nan), operating_threshold=0.5)
    assert _has(_pixels(some), TRAIN_COLOUR).any()
    assert not _has(_pixels(none), TRAIN_COLOUR).any()


def test_reliability_follows_what_is_true() -> None:
    """A model that is too sure lies below the diagonal; bins without pixels are gaps, and none at all is no error."""
    n_pixels, probability = np.array([5, 0, 5]), np.array([0.1, np.nan, 0.9])
    lines = [
        _has(_pixels(reliability_figure(Reliability(n_pixels, probability, np.array(fraction)))), TRAIN_COLOUR)
        for fraction in ([0.0, np.nan, 0.2], [0.0, np.nan, 0.9])
    ]
    sure, right = (np.argwhere(line[:, int(0.8 * line.shape[1]) :])[:, 0].min() for line in lines)
    assert sure > right + 100
    nothing = np.full(3, np.nan)
    assert not _has(_pixels(reliability_figure(Reliability(np.zeros(3, int), nothing, nothing))), VAL_COLOUR).any()


def test_volumes_agree_around_the_bias() -> None:
    """Twice the volume everywhere lies on one line; limits are drawn from five patients on, and none is no error."""
    reference = np.array([10.0, 30.0, 100.0, 300.0, 1000.0, 0.0])
    with_limits, without = (
        _has(_pixels(volumes_figure(of * factor, of, unit="ml")), VAL_COLOUR)
        for of, factor in ((reference, np.array([2, 2, 2, 2, 2.2, 1])), (reference[:4], 2))
    )
    assert with_limits.sum() > 300
    assert not without.any()
    assert not _has(_pixels(volumes_figure(np.zeros(2), np.zeros(2), unit="ml")), TRAIN_COLOUR).any()
