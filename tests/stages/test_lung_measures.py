import numpy as np
import pytest

from tasks.stages.chunk import Predicted
from tasks.stages.lung_measures import LungMeasures, measure_lung

IMAGES = np.zeros((2, 4, 4), np.uint8)


def _predicted(lung: np.ndarray | None) -> Predicted:
    return Predicted(IMAGES, None, IMAGES, lung)


def test_involvement_is_lesion_inside_the_lung_by_lung() -> None:
    """Of eight lung pixels two are lesion; a lesion outside the lung does not count."""
    lung, lesions = np.zeros_like(IMAGES), np.zeros_like(IMAGES)
    lung[0, :2] = 255
    lesions[0, 0, :2] = lesions[1, 0, :2] = 1
    found = measure_lung(_predicted(lung), lesions, np.ones(len(lesions), bool))
    assert found == LungMeasures(n_voxels=8, n_lesion=2, end_share=1.0, border_share=0.5)
    assert found.involvement == pytest.approx(0.25)
    assert found.volume_ml(500.0) == pytest.approx(4.0)
    assert found.volume_ml(None) is None


def test_measured_on_the_source_grid() -> None:
    """A source of twice the side has four times the voxels."""
    lung = np.full_like(IMAGES, 255)
    found = measure_lung(_predicted(lung), np.zeros((2, 8, 8), np.uint8), np.ones(2, bool))
    assert found == LungMeasures(n_voxels=128, n_lesion=0, end_share=1.0, border_share=1.0)


def test_where_the_lung_is_cut_is_measured() -> None:
    """Of three slices the first has half the area of the largest; of its border one pixel of twelve is lung."""
    lung = np.zeros((3, 4, 4), np.uint8)
    lung[0, 1, 1:3] = 255
    lung[1, 1:3, 1:3] = 255
    found = measure_lung(_predicted(lung), np.zeros_like(lung), np.ones(3, bool))
    assert (found.end_share, found.border_share) == (0.5, 0.0)
    lung[1, 1, 3] = 255
    found = measure_lung(_predicted(lung), np.zeros_like(lung), np.ones(3, bool))
    assert found.border_share == pytest.approx(1 / 24)


def test_without_lung_nothing_is_undefined_by_accident() -> None:
    """Without a lung output everything is unknown; with one that sees no lung, only the ratio is."""
    unknown = measure_lung(_predicted(None), IMAGES, np.ones(len(IMAGES), bool))
    assert (unknown.involvement, unknown.volume_ml(1.0)) == (None, None)
    empty = measure_lung(_predicted(IMAGES), IMAGES, np.ones(len(IMAGES), bool))
    assert (empty.involvement, empty.volume_ml(1.0)) == (None, 0.0)
