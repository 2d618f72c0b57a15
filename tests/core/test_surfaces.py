"""Distances between outlines: by hand on analytic shapes, and against exact distance transforms on random masks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from tasks.core.patient_metrics import CaseMasks, score_case
from tasks.core.surfaces import slice_distances, volume_distances

SPACING_MM = (5.0, 0.8, 0.7)
MASKS = hnp.arrays(np.uint8, (2, 4, 6, 7), elements=st.integers(0, 3).map(lambda n: int(n == 0)), fill=st.just(0))


def _plane(first: int, last: int, *, depth: int = 3) -> np.ndarray:
    """Return a mask of the rows from first to last of every slice, `(depth, 40, 20)`."""
    mask = np.zeros((depth, 40, 20), np.uint8)
    mask[:, first : last + 1] = 1
    return mask


def test_one_plane_beside_another_lies_as_far_away_as_they_were_put() -> None:
    """Two planes of one voxel, six rows of 0.8 mm apart: every distance is 4.8 mm."""
    distances = volume_distances(_plane(10, 10), _plane(16, 16), SPACING_MM)
    assert distances.percentile(95) == pytest.approx(4.8)
    assert distances.mean() == pytest.approx(4.8)
    assert [distances.within(tolerance) for tolerance in (4.7, 4.8)] == [0.0, 1.0]


def test_a_ball_in_a_ball_is_as_far_from_it_as_their_radii_differ() -> None:
    """Balls of 6 and 10 mm around one point: every distance is 4 mm within a voxel, also on anisotropic voxels."""
    spacing = np.array([1.0, 0.5, 0.5])
    places = np.stack(np.meshgrid(*(np.arange(-24, 25) * step for step in spacing), indexing="ij"))
    radius = np.sqrt((places**2).sum(axis=0))
    small, large = ((radius <= mm).astype(np.uint8) for mm in (6, 10))
    distances = volume_distances(small, large, (1.0, 0.5, 0.5))
    for side in distances.sides:
        assert abs(side.mean() - 4) < 0.4
        assert side.min() > 3
        assert side.max() < 5


def test_a_thicker_slab_is_measured_at_its_outlines() -> None:
    """A slab of rows 10 to 20 against 12 to 20: one face agrees, the other is two rows off; edges count as outline."""
    distances = slice_distances(_plane(10, 20, depth=1), _plane(12, 20, depth=1))
    assert distances.to_prediction.max() == 2
    assert distances.within(2) == 1.0
    n_outline = 2 * 20 + 2 * 9, 2 * 20 + 2 * 7
    assert (len(distances.to_reference), len(distances.to_prediction)) == n_outline
    assert int((distances.to_reference > 0).sum()) == 20 + 2


def test_the_larger_of_both_sides_is_the_hausdorff_distance() -> None:
    """A far false lesion counts, though every reference voxel is met."""
    prediction = _plane(5, 5, depth=1) | _plane(30, 30, depth=1)
    distances = slice_distances(prediction, _plane(5, 5, depth=1))
    assert distances.percentile(95) == 25
    assert distances.mean() == pytest.approx((25 / 2 + 0) / 2)
    assert distances.within(3) == pytest.approx(40 / 60)


def test_without_spacing_slices_are_measured_one_by_one() -> None:
    """A slice whose lesion is missed counts as out of tolerance, and has no distance."""
    prediction, reference = _plane(10, 10), _plane(11, 11)
    prediction[2] = 0
    distances = slice_distances(prediction, reference)
    assert distances.within(1) == pytest.approx(80 / 100)
    assert distances.percentile(95) == distances.mean() == 1


@pytest.mark.parametrize("spacing_mm", [None, SPACING_MM])
def test_one_empty_mask_is_0_and_two_are_undefined(spacing_mm: tuple[float, float, float] | None) -> None:
    """NSD is 0 where everything is missed or false; distances are undefined; without any lesion all of it is."""
    unit = "px" if spacing_mm is None else "mm"
    empty, full = np.zeros((3, 40, 20), np.uint8), _plane(3, 9)
    for masks in ((empty, full), (full, empty)):
        scored = score_case(CaseMasks(*masks, spacing_mm=spacing_mm))
        assert (scored[f"nsd_3{unit}"], scored[f"hd95_{unit}"]) == (0.0, None)
        assert scored[f"mean_surface_distance_{unit}"] is None
    assert score_case(CaseMasks(empty, empty, spacing_mm))[f"nsd_3{unit}"] is None


@pytest.mark.parametrize("spacing_mm", [None, SPACING_MM])
def test_metrics_of_the_other_unit_are_undefined(spacing_mm: tuple[float, float, float] | None) -> None:
    """A case has surface metrics in mm or in px, never both."""
    scored = score_case(CaseMasks(_plane(3, 9), _plane(4, 9), spacing_mm))
    is_defined = {name: value is not None for name, value in scored.items() if name.endswith(("mm", "px"))}
    assert len(is_defined) == 8
    assert all(found == name.endswith("px" if spacing_mm is None else "mm") for name, found in is_defined.items())


def _by_distance_transform(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of both outlines by another way: outlines by neighbours, distances by transform."""
    outlines = []
    for mask in (prediction, reference):
        padded = np.pad(mask > 0, 1)
        shifted = [np.roll(padded, step, axis) for axis in range(mask.ndim) for step in (-1, 1)]
        outlines.append((padded & ~np.logical_and.reduce(shifted))[(slice(1, -1),) * mask.ndim])
    if not outlines[0].any() or not outlines[1].any():
        return tuple(np.full(int(outline.sum()), np.inf) for outline in outlines)
    to_prediction, to_reference = (ndimage.distance_transform_edt(~outline, sampling=spacing) for outline in outlines)
    return to_reference[outlines[0]], to_prediction[outlines[1]]


@settings(max_examples=60)
@given(MASKS)
def test_distances_are_those_of_distance_transforms(masks: np.ndarray) -> None:
    """In three dimensions and slice by slice: the same distances, however they are computed."""
    volume = volume_distances(*masks, SPACING_MM)
    expected = _by_distance_transform(*masks, SPACING_MM)
    for found, other in zip((volume.to_reference, volume.to_prediction), expected, strict=True):
        np.testing.assert_allclose(np.sort(found), np.sort(other))
    slices = slice_distances(*masks)
    parts = [_by_distance_transform(*of_both, (1.0, 1.0)) for of_both in zip(*masks, strict=True)]
    for found, others in zip((slices.to_reference, slices.to_prediction), zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(np.sort(found), np.sort(np.concatenate(others)))


@given(MASKS)
def test_a_wider_tolerance_never_lowers_the_share(masks: np.ndarray) -> None:
    """From 0 to beyond the array, the share within the tolerance rises, to 1 if both have lesion."""
    distances = volume_distances(*masks, SPACING_MM)
    shares = [distances.within(tolerance) for tolerance in (0, 1, 5, 100)]
    if masks.any():
        assert all(one <= other for one, other in pairwise(share or 0.0 for share in shares))
        assert shares[-1] == (1.0 if masks[0].any() and masks[1].any() else 0.0)
