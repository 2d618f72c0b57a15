import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.metrics import (
    METRICS,
    Counts,
    accuracy,
    binary_cross_entropy,
    count_pixels,
    dice,
    iou,
    mean_defined,
    precision,
    recall,
    score,
    specificity,
)

PIXELS = st.integers(0, 10**9)
COUNTS = st.builds(Counts, PIXELS, PIXELS, PIXELS, PIXELS)
BITS = st.integers(0, 1)
TWO_MASKS = hnp.array_shapes(min_dims=1, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=BITS),
        hnp.arrays(np.uint8, shape, elements=BITS),
    )
)


def test_pixels_are_counted_by_prediction_and_reference() -> None:
    """Four of six lesion pixels found, one invented, three left alone: by hand."""
    prediction = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], np.uint8)
    reference = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.uint8)
    counts = count_pixels(prediction, reference)
    assert counts == Counts(tp=4, fp=1, fn=2, tn=3)
    assert dice(counts) == pytest.approx(8 / 11)
    assert iou(counts) == pytest.approx(4 / 7)
    assert precision(counts) == pytest.approx(4 / 5)
    assert recall(counts) == pytest.approx(4 / 6)
    assert specificity(counts) == pytest.approx(3 / 4)
    assert accuracy(counts) == pytest.approx(7 / 10)


@given(TWO_MASKS)
def test_counts_add_up(masks: tuple[np.ndarray, np.ndarray]) -> None:
    """Every pixel is counted once, and rows and columns of the table have the masks' own sizes."""
    prediction, reference = masks
    counts = count_pixels(prediction, reference)
    assert counts.tp + counts.fp + counts.fn + counts.tn == prediction.size
    assert counts.tp + counts.fp == prediction.sum()
    assert counts.tp + counts.fn == reference.sum()
    assert counts.tp == (prediction * reference).sum()


@given(TWO_MASKS)
def test_exchanging_the_masks_exchanges_the_errors(masks: tuple[np.ndarray, np.ndarray]) -> None:
    """What one side invents is what the other misses; Dice and IoU do not care."""
    there, back = count_pixels(*masks), count_pixels(*reversed(masks))
    assert back == Counts(there.tp, there.fn, there.fp, there.tn)
    assert (dice(back), iou(back)) == (dice(there), iou(there))


@given(TWO_MASKS)
def test_counts_of_parts_add_up_to_those_of_the_whole(masks: tuple[np.ndarray, np.ndarray]) -> None:
    """Counting slice by slice and adding is counting the volume."""
    parts = [count_pixels(np.atleast_1d(p), np.atleast_1d(r)) for p, r in zip(*masks, strict=True)]
    assert sum(parts, Counts()) == count_pixels(*masks)


@given(TWO_MASKS)
def test_dice_is_twice_the_overlap_over_both_sizes(masks: tuple[np.ndarray, np.ndarray]) -> None:
    """Dice from counts is Dice from sets, 2 |A n B| / (|A| + |B|), undefined when both are empty."""
    prediction, reference = (set(map(tuple, np.argwhere(mask))) for mask in masks)
    both = len(prediction) + len(reference)
    expected = 2 * len(prediction & reference) / both if both else None
    assert dice(count_pixels(*masks)) == expected


@given(COUNTS)
def test_dice_is_f1(counts: Counts) -> None:
    """Where both are defined, Dice is the harmonic mean of precision and recall."""
    p, r, d = precision(counts), recall(counts), dice(counts)
    if p and r:
        assert d == pytest.approx(2 * p * r / (p + r))
    elif p is not None and r is not None:
        assert d == 0


@given(COUNTS)
def test_dice_and_iou_rank_alike(counts: Counts) -> None:
    """Dice is 2 IoU / (1 + IoU), and undefined together with it."""
    d, j = dice(counts), iou(counts)
    assert (d is None) == (j is None)
    if d is not None and j is not None:
        assert d == pytest.approx(2 * j / (1 + j))


@pytest.mark.parametrize("name", METRICS)
@given(counts=COUNTS, factor=st.integers(2, 1000))
def test_metric_is_a_share_and_does_not_depend_on_size(name: str, counts: Counts, factor: int) -> None:
    """Every metric is undefined or in [0, 1], and the same for a picture of more pixels in the same proportions."""
    value = METRICS[name](counts)
    assert value is None or 0 <= value <= 1
    scaled = METRICS[name](Counts(*(factor * n for n in (counts.tp, counts.fp, counts.fn, counts.tn))))
    assert scaled == (value if value is None else pytest.approx(value))


@pytest.mark.parametrize("name", METRICS)
@given(tp=st.integers(1, 10**6), tn=st.integers(1, 10**6), fp=st.integers(1, 10**6), fn=st.integers(1, 10**6))
def test_metric_is_one_for_the_truth_and_zero_for_its_opposite(name: str, tp: int, tn: int, fp: int, fn: int) -> None:
    """Every metric rewards agreement: nothing wrong is 1, nothing right is 0, and errors lie below the truth."""
    assert METRICS[name](Counts(tp=tp, tn=tn)) == 1
    assert METRICS[name](Counts(fp=fp, fn=fn)) == 0
    worse = METRICS[name](Counts(tp, fp, fn, tn))
    assert worse is not None
    assert 0 < worse < 1


@pytest.mark.parametrize("name", METRICS)
def test_metric_without_pixels_is_undefined(name: str) -> None:
    """Nothing to judge by is None for every metric, never 0 or 1."""
    assert METRICS[name](Counts()) is None


@pytest.mark.parametrize(
    ("counts", "undefined"),
    [
        (Counts(tn=9), {"dice", "iou", "precision", "recall"}),
        (Counts(fp=2, tn=7), {"recall"}),
        (Counts(fn=2, tn=7), {"precision"}),
        (Counts(tp=5), {"specificity"}),
        (Counts(1, 1, 1, 1), set()),
    ],
)
def test_score_is_undefined_where_the_convention_says_so(counts: Counts, undefined: set[str]) -> None:
    """A healthy patient left alone has no Dice; one with false positives has Dice 0."""
    figures = score(counts)
    assert figures.keys() == METRICS.keys()
    assert {name for name, value in figures.items() if value is None} == undefined


def test_false_positives_of_a_healthy_patient_count() -> None:
    """Dice is 0, not undefined, where lesion was invented."""
    assert dice(Counts(fp=1, tn=99)) == 0


@pytest.mark.parametrize(
    ("values", "mean"), [([0.2, None, 0.6], 0.4), ([0.0, None], 0.0), ([None, None], None), ([], None)]
)
def test_mean_leaves_out_the_undefined(values: list[float | None], mean: float | None) -> None:
    """Undefined is not zero: it is left out, and without any value there is no mean."""
    assert mean_defined(values) == (None if mean is None else pytest.approx(mean))


def test_cross_entropy_by_hand() -> None:
    """Even odds cost about ln 2; a sure pixel costs half a unit's worth, right or wrong."""
    one = np.ones((1, 1), np.uint8)
    assert binary_cross_entropy(102 * one, one) == pytest.approx(-math.log(0.4))
    assert binary_cross_entropy(102 * one, 0 * one) == pytest.approx(-math.log(0.6))
    assert binary_cross_entropy(255 * one, one) == pytest.approx(-math.log(254.5 / 255), rel=1e-4)
    assert binary_cross_entropy(0 * one, one) == pytest.approx(-math.log(0.5 / 255))


def test_cross_entropy_is_a_mean_over_pixels() -> None:
    """Two pixels at 0.4 and 0.8, one lesion and one not: the mean of their costs."""
    probability, reference = np.array([[102, 204]], np.uint8), np.array([[1, 0]], np.uint8)
    assert binary_cross_entropy(probability, reference) == pytest.approx((-math.log(0.4) - math.log(0.2)) / 2)


@given(hnp.arrays(np.uint8, (4, 4)), hnp.arrays(np.uint8, (4, 4), elements=BITS))
def test_cross_entropy_is_finite_and_symmetric(probability: np.ndarray, reference: np.ndarray) -> None:
    """No certainty costs infinity, and exchanging lesion with background changes nothing."""
    loss = binary_cross_entropy(probability, reference)
    assert 0 < loss <= math.log(510) + 1e-6
    assert binary_cross_entropy(255 - probability, 1 - reference) == pytest.approx(loss, rel=1e-3)
