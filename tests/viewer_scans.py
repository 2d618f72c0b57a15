"""Scans for the tests of the viewer: shades that differ everywhere, and a lesion, on grids of any direction."""

import numpy as np

from tasks.core.config.intensity import HuConfig
from tasks.core.pages.viewer import ViewerScan
from tasks.core.rows import ScanRow
from tasks.core.volumes import Grid
from tasks.stages.viewer_volumes import viewer_scan
from tests.core.samples import DONE
from tests.volumes import Truth, grid_around

TRUTH = Truth()
SPACING_MM = (2.5, 0.9, 0.8)


def _turned(degrees: float, *, about: int) -> np.ndarray:
    """Return a rotation about a world axis."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    one, other = (axis for axis in range(3) if axis != about)
    turn[one, one] = turn[other, other] = cosine
    turn[one, other], turn[other, one] = -sine, sine
    return turn


AS_READ = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]], float)
DIRECTIONS = {
    "as read": AS_READ,
    "oblique": _turned(17, about=0) @ _turned(-11, about=2) @ AS_READ,
    "flipped": AS_READ * [-1, 1, -1],
    "rows to the left": AS_READ[:, [0, 2, 1]],
}
"""World direction of each stored axis, (slice, row, column), as columns, RAS+."""


def grid_of(shape: tuple[int, int, int], directions: np.ndarray, spacing_mm: tuple[float, ...] = SPACING_MM) -> Grid:
    """Return a grid around the lesion."""
    return grid_around(TRUTH, shape, spacing_mm, directions)


def shades(grid: Grid) -> np.ndarray:
    """Return grey levels that grow along every world axis, at another rate along each, uint8.

    They are linear, so that neither averaging nor interpolating changes them: whatever is off is a place.
    """
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    world = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3] - TRUTH.centre
    return np.clip(np.rint(120 + world @ [2.2, 1.3, 0.7]), 0, 255).astype(np.uint8)


def anatomy(grid: Grid) -> np.ndarray:
    """Return grey levels with structures of some centimetres that no turn or reflection brings to cover, uint8."""
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(indices @ grid.affine[:3, :3].T + grid.affine[:3, 3] - TRUTH.centre, -1, 0)
    waves = np.sin(x / 9 + y / 23) + np.sin(y / 11 - z / 31 + 1) + np.sin(z / 13 + x / 37 + 2)
    return np.clip(np.rint(110 + 25 * waves + 0.5 * x + 0.3 * y - 0.4 * z), 0, 255).astype(np.uint8)


def read_as_viewer(
    stored: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    size_px: int,
    *,
    row: ScanRow = DONE,
    window: HuConfig | None = None,
) -> ViewerScan:
    """Return a stored scan and its mask as the viewer shows them."""
    return viewer_scan(row, grid.to_reading(stored), grid.to_reading(mask), grid.affine, size_px, stored=window)
