"""Appearance of a slice in numbers: brightness, contrast, noise, sharpness, and where body and lungs lie in it.

It does not show the disease: it is what differs between scanners, windows, exports and ways of cropping or turning.
"""

import cv2
import numpy as np

from tasks.core.landmarks import SATURATED, body_of

FEATURES = (
    *("lung_level", "tissue_level", "body_5", "body_25", "body_50", "body_75", "body_95", "outside_level"),
    *("black_share", "saturated_share", "entropy"),
    *("noise_dark", "noise_bright", "texture_dark", "texture_bright", "edges_50", "edges_95"),
    *("body_top", "body_bottom", "body_left", "body_right", "body_share", "dark_share"),
    *("dark_row", "dark_column", "dark_height", "dark_width", "mirror_columns", "mirror_rows"),
)
"""Names of the features, in their order. Levels are of 255, shares of pixels, places and sizes of the slice's side."""
RESOLUTION = (*(3.0,) * 8, 0.01, 0.01, 0.05, *(0.1,) * 6, *(0.02,) * 6, *(0.015,) * 4, 0.03, 0.03)
"""Difference in each feature that means nothing: two pixels of 96, three levels of 255, a tenth in a logarithm."""

_SIDE_PX = 96
_SYMMETRY_PX = 32
_TEXTURE_PX = 9
_BLACK = 2
_FEW_PX = 20


def appearance_of(image: np.ndarray) -> np.ndarray:
    """Return the features of a slice, float32 `(29,)`, in the order of `FEATURES`.

    Args:
        image: uint8 `(H, W)`, before any intensity rule. Noise, texture and edges are measured in the middle quarter at
            its own resolution, so slices are to be compared at one size only.
    """
    small = cv2.resize(image, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    threshold, body = body_of(small)
    is_dark = cv2.GaussianBlur(small, (3, 3), 0) <= threshold
    dark = body & is_dark
    values = [
        *(_quantile(small[dark], 0.5, threshold / 2), _quantile(small[body & ~is_dark], 0.5, threshold)),
        *(_quantile(small[body], share, threshold) for share in (0.05, 0.25, 0.5, 0.75, 0.95)),
        _quantile(small[~body], 0.5, 0.0),
        *(float(np.mean(small <= _BLACK)), float(np.mean(small >= SATURATED)), _entropy(small)),
        *_textures(image, threshold),
        *_places(body, dark),
        *_symmetry(small),
    ]
    return np.array(values, np.float32)


def _textures(image: np.ndarray, threshold: float) -> list[float]:
    """Return noise, texture and edges of the middle, as logarithms."""
    height, width = image.shape
    middle = np.ascontiguousarray(image[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None])
    is_dark = middle <= threshold
    noise = cv2.absdiff(middle, cv2.medianBlur(middle, 3))
    values = middle.astype(np.float32)
    mean, square = (cv2.blur(each, (_TEXTURE_PX, _TEXTURE_PX)) for each in (values, values**2))
    spread = np.sqrt(np.maximum(square - mean**2, 0)).astype(np.uint8)
    edges = np.minimum(np.abs(cv2.Sobel(middle, cv2.CV_16S, 1, 0)), 255).astype(np.uint8)
    found = [float(noise[part].mean()) if part.any() else 0.0 for part in (is_dark, ~is_dark)]
    found += [_quantile(spread[part], 0.5, 0.0) for part in (is_dark, ~is_dark)]
    found += [_quantile(edges, share, 0.0) for share in (0.5, 0.95)]
    return [float(np.log1p(each)) for each in found]


def _places(body: np.ndarray, dark: np.ndarray) -> list[float]:
    """Return the sides and share of the body, and the place and size of what is dark inside it."""
    rows, columns = (np.flatnonzero(body.any(axis=axis)) / _SIDE_PX for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    n_body, n_dark = np.count_nonzero(body), np.count_nonzero(dark)
    sides = [top, bottom, left, right, n_body / body.size, n_dark / n_body]
    if n_dark < _FEW_PX:
        return [*sides, 0.0, 0.0, 0.0, 0.0]
    dark_rows, dark_columns = (places / _SIDE_PX for places in np.nonzero(dark))
    offsets = [dark_rows.mean() - (top + bottom) / 2, dark_columns.mean() - (left + right) / 2]
    return [*sides, *offsets, dark_rows.std(), dark_columns.std()]


def _symmetry(small: np.ndarray) -> list[float]:
    """Return the correlation of a slice with itself, mirrored left to right and top to bottom."""
    values = cv2.resize(small, (_SYMMETRY_PX, _SYMMETRY_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    values -= values.mean()
    variance = max(float(np.mean(values**2)), 1e-6)
    return [float(np.mean(values * mirrored)) / variance for mirrored in (values[:, ::-1], values[::-1])]


def _entropy(small: np.ndarray) -> float:
    """Return the entropy of the values in 32 bins, nats."""
    shares = np.bincount(small.ravel() >> 3, minlength=32) / small.size
    filled = shares[shares > 0]
    return float(-(filled * np.log(filled)).sum())


def _quantile(levels: np.ndarray, share: float, otherwise: float) -> float:
    """Return a quantile of uint8 levels, from their histogram; another value where there are too few."""
    if levels.size < _FEW_PX:
        return float(otherwise)
    below = np.bincount(levels.ravel(), minlength=256).cumsum()
    return float(np.searchsorted(below, share * below[-1]))
