import numpy as np
import pytest

from tasks.core.phantoms import PhantomScan, phantom_scan

SEED_WITHOUT_LUNG = 5
"""A single slice at the top of this patient lies above both lungs."""


@pytest.fixture(scope="module")
def scan() -> PhantomScan:
    """A small phantom."""
    return phantom_scan(3, n_slices=8, size_px=64)


def test_phantom_is_a_volume_with_a_binary_mask(scan: PhantomScan) -> None:
    """Image and mask are uint8 of the asked shape; the mask holds 0 and 1, both."""
    assert scan.image.shape == scan.mask.shape == (8, 64, 64)
    assert scan.image.dtype == scan.mask.dtype == np.uint8
    assert set(np.unique(scan.mask)) == {0, 1}


def test_same_seed_same_phantom_on_any_day(scan: PhantomScan) -> None:
    """A phantom depends on its seed alone; the global random state is neither read nor changed."""
    before = np.random.get_state(legacy=False)
    again = phantom_scan(3, n_slices=8, size_px=64)
    np.testing.assert_array_equal(again.image, scan.image)
    np.testing.assert_array_equal(again.mask, scan.mask)
    np.testing.assert_equal(np.random.get_state(legacy=False), before)


def test_patients_differ(scan: PhantomScan) -> None:
    """Another seed is another body with other lesions."""
    other = phantom_scan(4, n_slices=8, size_px=64)
    assert not np.array_equal(other.image, scan.image)
    assert not np.array_equal(other.mask, scan.mask)


def test_lesions_are_brighter_than_the_lung_they_lie_in(scan: PhantomScan) -> None:
    """Each lesion stands out, so that a network can learn it and a reader can see it."""
    healthy = phantom_scan(3, n_slices=8, size_px=64, n_lesions=0)
    is_lesion = scan.mask > 0
    gain = scan.image[is_lesion].astype(float) - healthy.image[is_lesion]
    assert gain.mean() > 40


@pytest.mark.parametrize("seed", range(4))
def test_lesions_lie_inside_the_lungs(seed: int) -> None:
    """In the same body without lesions, no voxel of a lesion is as bright as the body around the lungs."""
    sick, healthy = (phantom_scan(seed, n_slices=8, size_px=64, n_lesions=n) for n in (4, 0))
    assert healthy.image[sick.mask > 0].max() <= 130


def test_body_stands_in_air(scan: PhantomScan) -> None:
    """Corners are dark, the middle between the lungs is tissue."""
    assert scan.image[:, :4, :4].mean() < 10
    assert 100 < scan.image[:, 28:36, 31:33].mean() < 200


def test_phantom_without_lesions_is_healthy() -> None:
    """Asked for no lesions, the mask is empty."""
    assert not phantom_scan(0, n_slices=4, size_px=32, n_lesions=0).mask.any()


def test_more_lesions_cover_more(scan: PhantomScan) -> None:
    """The first lesions stay where they are when more are asked for."""
    fewer = phantom_scan(3, n_slices=8, size_px=64, n_lesions=1)
    assert (scan.mask >= fewer.mask).all()
    assert scan.mask.sum() > fewer.mask.sum()


def test_slices_beyond_the_lungs_have_no_lesions() -> None:
    """Where no lung is in the volume, there is nothing for a lesion to lie in."""
    scan = phantom_scan(SEED_WITHOUT_LUNG, n_slices=1, size_px=32)
    assert scan.image[:, 12:20, 12:20].mean() > 100
    assert not scan.mask.any()


def test_lesions_lie_in_the_lungs(scan: PhantomScan) -> None:
    """The mask of the lungs holds every lesion, and more."""
    assert set(np.unique(scan.lung)) == {0, 1}
    assert (scan.lung[scan.mask > 0] == 1).all()
    assert scan.lung.sum() > scan.mask.sum()
