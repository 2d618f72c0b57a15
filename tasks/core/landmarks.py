"""Standard intensity scale of CT slices: lung and soft tissue of every slice have the same values.

Scanners, windows and exports differ in brightness more than lesions differ from lung. A network that is trained on one
export misses the lesions of another; on the standard scale both look alike (infra/decisions/0017).
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.core.catalog import IntensityRule

STANDARD_LUNG, STANDARD_TISSUE = 50, 150
"""Values of aerated lung and soft tissue on the standard scale; 0 and 255 keep theirs."""
TYPICAL_LUNG_SHARE = 0.25
"""Lung as a fraction of soft tissue where a slice shows too little lung: between 0.14 (minimum to maximum of the CT
values) and 0.43 (equalised) in the public collections."""

MIN_AREA_FRACTION = 0.01
"""Fraction of a slice that must be lung, or soft tissue, to measure its level."""
MAX_LUNG_SHARE = 0.8
"""Largest fraction of soft tissue for which a level can be lung; above, both are the same tissue."""
MIN_TISSUE = 40
"""Lowest level that can be soft tissue; 66 is that of 40 HU on the full 12-bit scale. Below, a slice shows air only."""
SATURATED = 250
"""Level from which pixels are bone, metal or clipped, and do not count as soft tissue."""

_SMOOTHING_PX, _CLOSING_PX, _MARGIN_PX = 3, 3, 3
"""Sides of the kernels at half the size."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Levels of a slice, 0 to 255; None where it has too little of the tissue."""

    lung: float | None
    tissue: float | None


def find_landmarks(image: np.ndarray) -> Landmarks:
    """Return the median levels of aerated lung and soft tissue.

    Otsu's threshold separates air and lung from the rest. The body is the convex hull of the largest bright component,
    so that lungs which touch the border of a cropped slice lie inside. Medians vary less between neighbouring slices
    than modes do: by 5 instead of 11 levels for lung and 3 instead of 11 for tissue in the radiopaedia slices.
    Measured at half the size, where noise, blur and compression matter less, in a quarter of the time.

    Args:
        image: uint8 `(H, W)`.

    Source: N. Otsu, IEEE Trans. SMC 9(1), 1979; landmarks after Nyúl and Udupa, Magn. Reson. Med. 42(6), 1999.
    """
    height, width = image.shape
    small = cv2.resize(image, (max(width // 2, 1), max(height // 2, 1)), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (_SMOOTHING_PX, _SMOOTHING_PX), 0)
    threshold, bright = cv2.threshold(smooth, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    body = _hull(cv2.morphologyEx(bright, cv2.MORPH_CLOSE, _square(_CLOSING_PX)))
    if body is None:
        return Landmarks(None, None)
    is_bright, inside = smooth > threshold, cv2.erode(body, _square(_MARGIN_PX)) > 0
    least_px = MIN_AREA_FRACTION * small.size
    tissue = _median(small[(body > 0) & is_bright & (small < SATURATED)], least_px)
    lung = _median(small[inside & ~is_bright], least_px)
    if tissue is None or tissue < MIN_TISSUE:
        return Landmarks(None, None)
    return Landmarks(None if lung is None or lung > MAX_LUNG_SHARE * tissue else lung, tissue)


def standardise(image: np.ndarray) -> np.ndarray:
    """Map a slice to the standard scale, linearly between 0, lung, soft tissue and 255.

    Each slice is mapped by itself, so that it does not depend on the scan it belongs to. A slice without soft tissue,
    for example one of air only, is returned unchanged.

    Args:
        image: uint8 `(H, W)`.

    Returns:
        uint8, same shape.
    """
    found = find_landmarks(image)
    if found.tissue is None:
        return image
    lung = TYPICAL_LUNG_SHARE * found.tissue if found.lung is None else max(found.lung, 1.0)
    # 0 < lung < tissue < 255, by the bounds above
    levels = np.interp(np.arange(256), [0, lung, found.tissue, 255], [0, STANDARD_LUNG, STANDARD_TISSUE, 255])
    return cv2.LUT(image, np.rint(levels).astype(np.uint8))


def _as_stored(image: np.ndarray) -> np.ndarray:
    return image


INTENSITY_RULES: dict[IntensityRule, Callable[[np.ndarray], np.ndarray]] = {
    "slice_8bit": _as_stored,
    "landmarks": standardise,
}
"""Functions from an 8-bit slice to the model's input, both uint8 `(H, W)`."""


def apply_rule(images: np.ndarray, rule: IntensityRule) -> np.ndarray:
    """Return slices, uint8 `(N, H, W)`, by an intensity rule."""
    return np.stack([INTENSITY_RULES[rule](image) for image in images]) if len(images) else images


def body_of(image: np.ndarray) -> tuple[float, np.ndarray]:
    """Return Otsu's threshold between air and tissue, and the body: all of a slice that shows none.

    Args:
        image: uint8 `(H, W)`, at any size.

    Returns:
        Threshold, and bool `(H, W)`.
    """
    smooth = cv2.GaussianBlur(image, (_SMOOTHING_PX, _SMOOTHING_PX), 0)
    threshold, bright = cv2.threshold(smooth, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    body = _hull(cv2.morphologyEx(bright, cv2.MORPH_CLOSE, _square(_CLOSING_PX)))
    return float(threshold), np.ones(image.shape, bool) if body is None else body > 0


def _hull(bright: np.ndarray) -> np.ndarray | None:
    """Return the convex hull of the largest component, uint8 of 0 and 1; None if there is none."""
    n_components, labels, figures, _ = cv2.connectedComponentsWithStats(bright)
    if n_components < 2:
        return None
    largest = 1 + int(figures[1:, cv2.CC_STAT_AREA].argmax())
    contours, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = np.zeros_like(bright)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
    return hull


def _square(side_px: int) -> np.ndarray:
    return np.ones((side_px, side_px), np.uint8)


def _median(levels: np.ndarray, least_px: float) -> float | None:
    """Return the median of uint8 levels, from their histogram; None if there are too few."""
    if levels.size <= least_px:
        return None
    cumulative = np.bincount(levels, minlength=256).cumsum()
    return float(np.searchsorted(cumulative, cumulative[-1] / 2))
