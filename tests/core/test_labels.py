import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from tasks.core.augment import augment_slice, build_augmentation
from tasks.core.config.augmentation import AugmentConfig
from tasks.core.labels import lesion_of, lung_of, pack_labels

MASKS = hnp.arrays(np.uint8, (4, 5), elements={"min_value": 0, "max_value": 1})


@given(MASKS, MASKS)
def test_both_masks_come_out_as_they_went_in(mask: np.ndarray, lung: np.ndarray) -> None:
    """Lesion and lung do not mix, wherever they overlap."""
    labels = pack_labels(mask, lung)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(lesion_of(labels), mask)
    np.testing.assert_array_equal(lung_of(labels), lung)


@given(MASKS)
def test_without_a_lung_mask_there_is_no_lung(mask: np.ndarray) -> None:
    """The lesion alone is kept."""
    labels = pack_labels(mask, None)
    np.testing.assert_array_equal(lesion_of(labels), mask)
    assert not lung_of(labels).any()


@pytest.mark.parametrize("seed", range(5))
def test_augmentation_moves_both_alike(seed: int) -> None:
    """Augmented together, each mask is what it would be if it were augmented alone."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64)).astype(np.uint8)
    mask, lung = (rng.integers(0, 2, (64, 64)).astype(np.uint8) for _ in range(2))
    augmentation = build_augmentation(AugmentConfig())
    _, together = augment_slice(augmentation, image, pack_labels(mask, lung), seed=seed)
    np.testing.assert_array_equal(lesion_of(together), augment_slice(augmentation, image, mask, seed=seed)[1])
    np.testing.assert_array_equal(lung_of(together), augment_slice(augmentation, image, lung, seed=seed)[1])
