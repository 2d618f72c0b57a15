"""Previews of segmented scans: slices with outlined lesions and lungs."""

import numpy as np

from tasks.core.geometry import resize_slice_to
from tasks.core.pictures.key_slices import key_slices
from tasks.core.pictures.panels import PALETTE, overlay, side_by_side
from tasks.io.formats.raster import write_png
from tasks.stages.chunk import Predicted
from tasks.stages.load_scans import LoadedScan
from tasks.stages.lung_measures import lung_slice


def draw_preview(predicted: Predicted, mask: np.ndarray) -> bytes:
    """Return the preview of a scan as PNG: its slice, or of a volume up to three slices with lesions.

    The greys below the outlines are kept in the outlines' shades, so that a page can take these off.

    Args:
        predicted: Slices of the scan; the rest is its `LoadedScan`.
        mask: Lesions on the source grid, uint8 `(N, H, W)` of 0 and 1.
    """
    scan: LoadedScan = predicted.rest
    lungs = predicted.lung if predicted.lung is not None else [None] * len(mask)
    panels = [
        overlay(_image(predicted, n), lesions=mask[n], lung=_lung(lungs[n], scan.shape))
        for n in key_slices(np.count_nonzero(mask, axis=(1, 2)))
    ]
    return write_png(side_by_side(panels), PALETTE)


def _image(predicted: Predicted, n: int) -> np.ndarray:
    scan: LoadedScan = predicted.rest
    return scan.image if scan.image is not None else resize_slice_to(predicted.images[n], scan.shape)


def _lung(probability: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray | None:
    return None if probability is None else lung_slice(probability, shape)
