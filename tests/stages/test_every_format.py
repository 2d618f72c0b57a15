"""A scan in every format goes through loading, a stand-in model and finishing, and its mask lies on the lesion."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tasks.core.metrics import count_pixels, dice
from tasks.core.volumes import Grid
from tasks.io.formats import FORMATS
from tasks.stages.segmentation_run import Run
from tests.format_samples import put_scan
from tests.stages.bright import scans_of, segment
from tests.volumes import Truth, grid_around

TRUTH = Truth()
UPRIGHT = grid_around(TRUTH, (24, 44, 48), (2.0, 1.5, 1.6), np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])
"""Slices from feet to head, rows to the back, columns to the left: as a reader sees them."""


@pytest.mark.parametrize("name", FORMATS)
def test_scan_of_every_format_is_segmented(run: Run, name: str) -> None:
    """Listed, read and predicted; the mask has the lesion's place in space, or in a slice's pixels, and its volume."""
    put_scan(run.request.scans_uri, name, TRUTH.voxels(UPRIGHT), UPRIGHT)
    [scan] = scans_of(run)
    assert scan.kind == name
    [row] = segment(run, [scan])
    assert (row.status, row.error) == ("done", None)
    assert row.n_lesions == 1
    assert row.mask_uri is not None
    path = row.mask_uri.removeprefix("file://")
    if FORMATS[name].layout == "slice":
        mask, truth = np.asarray(Image.open(path)) // 255, TRUTH.mask(UPRIGHT)[len(TRUTH.mask(UPRIGHT)) // 2]
    else:
        image = nib.load(path)
        mask = np.asarray(image.dataobj)
        truth = TRUTH.mask(Grid(mask.shape, image.affine))
        assert row.lesion_ml == pytest.approx(4 / 3 * np.pi * TRUTH.radius_mm**3 / 1000, rel=0.15)
    assert (dice(count_pixels(mask, truth)) or 0) > 0.9
