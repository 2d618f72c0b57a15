from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tasks.io.formats.raster import write_png
from tests.stages.bright import SIZE_PX, bright_run, scans_of, segment


def _n_lesion_slices(folder: Path, numbers: list[int]) -> int:
    """Segment a stack of five slices of which the middle one shows a lesion, smoothed; return those with a mask."""
    (folder / "scans" / "stack").mkdir(parents=True)
    for place, number in enumerate(numbers):
        image = np.full((SIZE_PX, SIZE_PX), 20, np.uint8)
        image[0, 0] = place  # no slice is constant
        if place == 2:
            image[40:80, 40:80] = 200
        (folder / "scans" / "stack" / f"{number}.png").write_bytes(write_png(image))
    pattern = r"(?P<scan>stack)/(?P<slice>\d+)"
    run = replace(bright_run(str(folder / "scans"), str(folder / "out"), stack_pattern=pattern), z_smoothing=True)
    [row] = segment(run, scans_of(run))
    assert row.mask_uri is not None, row.error
    mask = np.asarray(nib.load(row.mask_uri.removeprefix("file://")).dataobj)
    return sum(bool(mask[..., index].any()) for index in range(5))


@pytest.mark.parametrize(("numbers", "n_slices"), [([1, 2, 3, 4, 5], 0), ([1, 51, 101, 151, 201], 1)])
def test_slices_apart_are_no_neighbours(tmp_path: Path, numbers: list[int], n_slices: int) -> None:
    """A lesion in one slice is outvoted by its neighbours; slices far apart in a stack are none."""
    assert _n_lesion_slices(tmp_path, numbers) == n_slices
