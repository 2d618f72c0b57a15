import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.catalog import IntensityRule
from tasks.core.landmarks import (
    INTENSITY_RULES,
    STANDARD_LUNG,
    STANDARD_TISSUE,
    Landmarks,
    apply_rule,
    find_landmarks,
    standardise,
)
from tasks.core.phantoms import phantom_scan

SIZE_PX = 128


def _chest(lung: int = 20, tissue: int = 110, air: int = 0) -> np.ndarray:
    """Return an elliptic body with two lungs and a bright spine."""
    image = np.full((SIZE_PX, SIZE_PX), air, np.uint8)
    cv2.ellipse(image, (64, 64), (58, 42), 0, 0, 360, tissue, -1)
    for column in (38, 90):
        cv2.ellipse(image, (column, 60), (18, 28), 0, 0, 360, lung, -1)
    cv2.circle(image, (64, 90), 7, 253, -1)
    return image


def _noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def test_registry_holds_every_rule_a_form_offers() -> None:
    """What can be chosen can be applied, and the other way round."""
    assert set(INTENSITY_RULES) == set(IntensityRule.__args__)


@pytest.mark.parametrize(("lung", "tissue"), [(14, 107), (25, 115), (52, 156), (90, 222)])
def test_landmarks_are_the_levels_of_lung_and_tissue(lung: int, tissue: int) -> None:
    """Over the range of the public collections, noise or not, both levels are found; bone counts as neither."""
    for image in (_chest(lung, tissue), _noisy(_chest(lung, tissue))):
        found = find_landmarks(image)
        assert found.lung == pytest.approx(lung, abs=3)
        assert found.tissue == pytest.approx(tissue, abs=3)


@pytest.mark.parametrize("export", [lambda i: i, lambda i: i // 2 + 60, lambda i: 255 * (i / 255) ** 0.6])
def test_exports_of_one_slice_look_alike(export: object) -> None:
    """Whatever monotonic export a slice went through, lung and soft tissue end at the standard values."""
    exported = np.rint(export(_chest().astype(float))).astype(np.uint8)  # type: ignore[operator]
    mapped = standardise(exported)
    assert mapped[60, 38] == pytest.approx(STANDARD_LUNG, abs=1)
    assert mapped[64, 64] == pytest.approx(STANDARD_TISSUE, abs=1)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_orientation_does_not_matter(turns: int) -> None:
    """A turned slice has the same landmarks."""
    image = _noisy(_chest())
    assert find_landmarks(np.ascontiguousarray(np.rot90(image, turns))) == find_landmarks(image)


def test_a_slice_cropped_to_the_lungs_keeps_its_landmarks() -> None:
    """Lungs that touch the border of a crop are still found inside the body."""
    image = _noisy(_chest())
    cropped = cv2.resize(image[32:89, 20:109], (SIZE_PX, SIZE_PX))
    whole, part = find_landmarks(image), find_landmarks(cropped)
    assert part.lung == pytest.approx(whole.lung, abs=3)
    assert part.tissue == pytest.approx(whole.tissue, abs=3)


def test_consolidated_lung_does_not_count_as_aerated() -> None:
    """With most of one lung consolidated, the level of the lung is still that of its aerated part."""
    image = _chest()
    cv2.ellipse(image, (90, 66), (17, 20), 0, 0, 360, 100, -1)
    assert find_landmarks(_noisy(image)).lung == pytest.approx(20, abs=3)


def test_a_slice_without_lung_is_scaled_by_its_tissue() -> None:
    """Below the lungs soft tissue still gets its standard value."""
    image = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    cv2.ellipse(image, (64, 64), (58, 42), 0, 0, 360, 110, -1)
    assert find_landmarks(image) == Landmarks(None, 110)
    assert standardise(image)[64, 64] == STANDARD_TISSUE


@given(st.integers(0, 255))
def test_a_constant_slice_is_no_error(level: int) -> None:
    """A slice of one value has no lung, and stays one value."""
    image = np.full((16, 16), level, np.uint8)
    assert find_landmarks(image).lung is None
    assert len(np.unique(standardise(image))) == 1


def test_air_alone_is_left_unchanged() -> None:
    """The noise of an empty slice is not stretched until it looks like tissue."""
    image = np.random.default_rng(0).integers(0, 9, (SIZE_PX, SIZE_PX)).astype(np.uint8)
    np.testing.assert_array_equal(standardise(image), image)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=24)))
def test_order_of_levels_is_kept(image: np.ndarray) -> None:
    """No pixel becomes brighter than one that was brighter before, in any slice; 0 stays 0 and 255 stays 255."""
    mapped = standardise(image)
    order = np.argsort(image, axis=None, kind="stable")
    assert (np.diff(mapped.ravel()[order].astype(int)) >= 0).all()
    assert (mapped[image == 0] == 0).all()
    assert (mapped[image == 255] == 255).all()


@pytest.mark.parametrize("rule", INTENSITY_RULES)
def test_slices_do_not_depend_on_each_other(rule: IntensityRule) -> None:
    """A slice is mapped alike alone and among others."""
    images = phantom_scan(3, n_slices=4, size_px=64).image
    together = apply_rule(images, rule)
    assert together.dtype == np.uint8
    for image, mapped in zip(images, together, strict=True):
        np.testing.assert_array_equal(apply_rule(image[np.newaxis], rule)[0], mapped)


def test_no_slices_is_no_error() -> None:
    """A rejected scan has none."""
    assert apply_rule(np.empty((0, 8, 8), np.uint8), "landmarks").shape == (0, 8, 8)
