"""Metrics that need masks: by hand, and what must hold for every entry of `PATIENT_METRICS`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.patient_metrics import PATIENT_METRICS, CaseMasks, mean_of_cases, score_case

SPACING_MM = (5.0, 0.8, 0.7)
MASKS = hnp.arrays(np.uint8, (2, 3, 5, 7), elements=st.integers(0, 4).map(lambda n: int(n == 0)))


def _case(*lesions: tuple[slice, slice, slice], predicted: tuple[tuple[slice, slice, slice], ...]) -> CaseMasks:
    """Return a case with lesions in boxes, and predicted ones."""
    masks = np.zeros((2, 4, 8, 20), np.uint8)
    for mask, boxes in zip(masks, (predicted, lesions), strict=True):
        for box in boxes:
            mask[box] = 1
    return CaseMasks(*masks, spacing_mm=SPACING_MM)


LEFT, MIDDLE, RIGHT = ((slice(0, 2), slice(0, 3), slice(first, first + 4)) for first in (0, 8, 15))
ALONG_A_CORNER = (slice(2, 4), slice(3, 5), slice(4, 6))
"""Touches LEFT at one corner, in the next slice."""


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (_case(LEFT, MIDDLE, predicted=(LEFT, RIGHT)), (0.0, 0.5, 0.5, 0.5, 1)),
        (_case(LEFT, predicted=(LEFT, MIDDLE, RIGHT)), (2.0, 1.0, 1 / 3, 0.5, 2)),
        (_case(LEFT, ALONG_A_CORNER, predicted=(LEFT,)), (-8 / 32, 1.0, 1.0, 1.0, 0)),
        (_case(LEFT, predicted=()), (-1.0, 0.0, None, 0.0, 0)),
        (_case(predicted=(LEFT, RIGHT)), (None, None, 0.0, 0.0, 2)),
        (_case(predicted=()), (None, None, None, None, 0)),
    ],
)
def test_lesions_are_counted_in_three_dimensions(case: CaseMasks, expected: tuple[float | None, ...]) -> None:
    """By hand: volume error, lesion recall, precision and F1, false lesions; a touching corner makes one lesion."""
    names = ("volume_error", "lesion_recall", "lesion_precision", "lesion_f1", "false_lesions_per_scan")
    scored = score_case(case)
    for name, value in zip(names, expected, strict=True):
        assert scored[name] == (None if value is None else pytest.approx(value)), name


@pytest.mark.parametrize("name", PATIENT_METRICS)
@settings(max_examples=20)
@given(masks=MASKS)
def test_metric_is_a_number_or_undefined_however_the_scan_lies(name: str, masks: np.ndarray) -> None:
    """Mirrored along any axis it is the same; the masks are left as they were."""
    before = masks.copy()
    value = PATIENT_METRICS[name](CaseMasks(*masks, spacing_mm=SPACING_MM))
    assert value is None or (isinstance(value, float) and np.isfinite(value))
    np.testing.assert_array_equal(masks, before)
    for axis in range(1, 4):
        mirrored = PATIENT_METRICS[name](CaseMasks(*np.flip(masks, axis), spacing_mm=SPACING_MM))
        assert mirrored == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize("name", PATIENT_METRICS)
def test_metric_takes_empty_masks_and_slices_without_a_place(name: str) -> None:
    """Nothing in both masks, one slice, or no spacing: a number or undefined, never an error."""
    for shape in ((1, 1, 1), (1, 5, 7), (4, 5, 7)):
        empty, full = np.zeros(shape, np.uint8), np.ones(shape, np.uint8)
        for masks in ((empty, empty), (full, empty), (empty, full), (full, full)):
            value = PATIENT_METRICS[name](CaseMasks(*masks))
            assert value is None or np.isfinite(value)


def test_a_patients_metric_is_the_mean_over_cases_that_have_it() -> None:
    """Undefined cases are left out; in none, or without cases, it is undefined."""
    scores: list[dict[str, float | None]] = [
        dict.fromkeys(PATIENT_METRICS, 0.5),
        dict.fromkeys(PATIENT_METRICS),
        dict.fromkeys(PATIENT_METRICS, 1.0),
    ]
    assert mean_of_cases(scores) == dict.fromkeys(PATIENT_METRICS, 0.75)
    assert mean_of_cases(scores[1:2]) == mean_of_cases([]) == dict.fromkeys(PATIENT_METRICS)
