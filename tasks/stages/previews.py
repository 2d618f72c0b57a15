"""Previews of segmented scans: slices as they are, and below them with outlined lesions and lungs."""

import numpy as np

from tasks.core.geometry import resize_slice_to
from tasks.core.panels import PALETTE, overlay, side_by_side
from tasks.io.formats.raster import write_png
from tasks.stages.chunk import Predicted
from tasks.stages.load_scans import LoadedScan
from tasks.stages.lung_measures import lung_slice


def draw_preview(predicted: Predicted, mask: np.ndarray) -> bytes:
    """Return the preview of a scan as PNG: its slice, or of a volume up to three slices with lesions.

    The upper half shows them as they are, the lower half with outlines, so that a page can show either.

    Args:
        predicted: Slices of the scan; the rest is its `LoadedScan`.
        mask: Lesions on the source grid, uint8 `(N, H, W)` of 0 and 1.
    """
    return write_png(_picture(predicted, mask), PALETTE)


def _picture(predicted: Predicted, mask: np.ndarray) -> np.ndarray:
    """Return the picture as indices into the palette."""
    scan: LoadedScan = predicted.rest
    lungs = predicted.lung if predicted.lung is not None else [None] * len(mask)
    shown = _key_slices(mask)
    images = [scan.image if scan.image is not None else resize_slice_to(predicted.images[n], scan.shape) for n in shown]
    plain = [overlay(image, prediction=np.zeros_like(image)) for image in images]
    outlined = [
        overlay(image, prediction=mask[n], lung=_lung(lungs[n], scan.shape))
        for n, image in zip(shown, images, strict=True)
    ]
    return np.vstack([side_by_side(plain), side_by_side(outlined)])


def _key_slices(mask: np.ndarray) -> list[int]:
    """Return the slice with the largest lesion, and those a quarter into the lesions from either end."""
    areas = np.count_nonzero(mask, axis=(1, 2))
    largest = int(areas.argmax()) if areas.any() else len(mask) // 2
    with_lesion = np.flatnonzero(areas) if areas.any() else np.arange(len(mask))
    return sorted({largest, *(int(np.quantile(with_lesion, share)) for share in (0.25, 0.75))})


def _lung(probability: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray | None:
    return None if probability is None else lung_slice(probability, shape)
