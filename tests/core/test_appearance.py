import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.appearance import FEATURES, RESOLUTION, appearance_of
from tests.anatomy import anatomy

IMAGE = anatomy(1, 0, size_px=128)


def _features(image: np.ndarray) -> dict[str, float]:
    return dict(zip(FEATURES, appearance_of(image).tolist(), strict=True))


@settings(max_examples=40)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(8, 70), st.integers(8, 70))))
def test_any_slice_has_an_appearance(image: np.ndarray) -> None:
    """Black, constant or noise, of any shape: finite numbers, one per name, and the slice stays as it was."""
    before = image.copy()
    for pixels in (image, np.zeros_like(image), np.full_like(image, 255)):
        features = appearance_of(pixels)
        assert features.shape == (len(FEATURES),)
        assert features.dtype == np.float32
        assert np.isfinite(features).all()
    np.testing.assert_array_equal(image, before)


def _brighter(image: np.ndarray) -> np.ndarray:
    return np.clip(image.astype(int) + 40, 0, 255).astype(np.uint8)


def _noisy(image: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 40, image.shape).astype(np.uint8) // 2 + image // 2


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (_brighter, "lung_level"),
        (lambda image: 255 - image, "outside_level"),
        (lambda image: np.roll(image, 12, axis=0), "body_top"),
        (lambda image: np.roll(image, 12, axis=1), "body_left"),
        (lambda image: np.ascontiguousarray(np.rot90(image)), "body_top"),
        (_noisy, "noise_dark"),
        (lambda image: np.repeat(np.repeat(image[::4, ::4], 4, 0), 4, 1), "edges_50"),
        (lambda image: np.clip(image.astype(int) * 3, 0, 255).astype(np.uint8), "saturated_share"),
    ],
)
def test_a_change_moves_the_feature_that_is_named_for_it(change, moved: str) -> None:
    """Brightness, inversion, place, turn, noise, resolution and clipping each show where they should."""
    assert abs(_features(change(IMAGE))[moved] - _features(IMAGE)[moved]) > 0.02


def test_every_feature_has_a_resolution() -> None:
    """A difference below it means nothing."""
    assert len(RESOLUTION) == len(FEATURES)
    assert min(RESOLUTION) > 0


def test_levels_are_those_of_the_tissues() -> None:
    """A body of 150 with lungs of 40 on air of 5, as it was drawn."""
    image = np.full((96, 96), 5, np.uint8)
    image[16:80, 12:84] = 150
    image[30:66, 22:44] = image[30:66, 52:74] = 40
    found = _features(image)
    assert (found["lung_level"], found["tissue_level"], found["outside_level"]) == (40, 150, 5)
    assert found["body_top"] == pytest.approx(16 / 96, abs=0.02)
    assert found["body_right"] == pytest.approx(83 / 96, abs=0.02)
    assert found["mirror_columns"] == pytest.approx(1, abs=0.05)
