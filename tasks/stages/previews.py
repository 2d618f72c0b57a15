"""Previews of segmented scans: slices with outlined lesions and lungs."""

import numpy as np

from tasks.core.geometry import resize_slice_to
from tasks.core.panels import PALETTE, overlay, side_by_side
from tasks.io.formats.raster import write_png
from tasks.stages.chunk import Predicted
from tasks.stages.load_scans import LoadedScan
from tasks.stages.lung_measures import lung_slice


def draw_preview(predicted: Predicted, mask: np.ndarray) -> bytes:
    """Return the preview of a scan as PNG: its slice, or of a volume up to three slices with lesions.

    Args:
        predicted: Slices of the scan; the rest is its `LoadedScan`.
        mask: Lesions on the source grid, uint8 `(N, H, W)` of 0 and 1.
    """
    return write_png(_picture(predicted, mask), PALETTE)


def _picture(predicted: Predicted, mask: np.ndarray) -> np.ndarray:
    """Return the picture as indices into the palette."""
    scan: LoadedScan = predicted.rest
    lungs = predicted.lung if predicted.lung is not None else [None] * len(mask)
    if scan.image is not None:
        return overlay(scan.image, prediction=mask[0], lung=_lung(lungs[0], scan.shape))
    areas = mask.sum(axis=(1, 2), dtype=np.int64)
    largest = int(areas.argmax()) if areas.any() else len(mask) // 2
    with_lesion = np.flatnonzero(areas) if areas.any() else np.arange(len(mask))
    shown = sorted({largest, *(int(np.quantile(with_lesion, share)) for share in (0.25, 0.75))})
    slices = {number: resize_slice_to(predicted.images[number], scan.shape) for number in shown}
    return side_by_side(
        [
            overlay(image, prediction=mask[number], lung=_lung(lungs[number], scan.shape))
            for number, image in slices.items()
        ]
    )


def _lung(probability: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray | None:
    return None if probability is None else lung_slice(probability, shape)
