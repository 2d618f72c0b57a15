"""Interpretation of a mask's colours and transparency; a mask with two possible meanings is rejected."""

import numpy as np

from tasks.core.errors import DataError
from tasks.core.plural import counted


def palette_values(indices: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return the values of a mask stored as indices into a palette.

    Indices are labels if index and colour agree on the background: index 0 is black, and no other index is. Otherwise
    the encoder chose the order of the palette (Pillow's `quantize` puts white before black), and a pixel's value is the
    largest channel of its colour, as in a mask of colours.

    Args:
        indices: uint8 `(H, W)`.
        palette: uint8 `(n, 3)`, red, green and blue of each index.

    Returns:
        uint8 `(H, W)`.

    Raises:
        DataError: `mask_values`, if an index has no colour, or lesion and background cannot be distinguished.
    """
    used = np.unique(indices)
    if used[-1] >= len(palette):
        raise DataError(
            "mask_values", f"The mask holds the index {used[-1]}, its palette {len(palette)} colours. Export it again."
        )
    brightness = palette.max(axis=1)
    is_black = brightness[used] == 0
    if np.array_equal(is_black, used == 0):
        return indices
    if not is_black.any():
        raise DataError(
            "mask_values",
            "The mask uses index 0 of its palette, which is not black, and no index that is: the background is "
            "unknown. Save it as grey 0/255.",
        )
    if used[0] == 0 and np.count_nonzero(brightness[used] == brightness[0]) > 1:
        raise DataError(
            "mask_values",
            "The mask's palette shows index 0 as bright as another that is used: they differ as labels, not as "
            "colours. Save it as grey 0/255.",
        )
    values: np.ndarray = brightness[indices]
    return values


def check_transparency(values: np.ndarray, alpha: np.ndarray) -> None:
    """Refuse a mask whose opacity, unless constant, marks other pixels as lesion than its values do.

    Args:
        values: Values of the mask, `(H, W)`, without its transparency.
        alpha: Opacity, `(H, W)`, 0 = transparent.

    Raises:
        DataError: `mask_values`, if values and opacity differ in what is lesion.
    """
    is_lesion, is_shown = values > 0, alpha > 0
    is_constant = alpha.min() == alpha.max()
    if is_constant and (is_shown.all() or not is_lesion.any()):
        return
    if is_lesion.all() or not is_lesion.any():
        raise DataError(
            "mask_values",
            "The mask is partly transparent and its colours do not show the lesion: the transparency may be the mask. "
            "Save it as grey 0/255.",
        )
    n_apart = int(np.count_nonzero(is_lesion != is_shown))
    if n_apart:
        raise DataError(
            "mask_values",
            f"By its transparency the mask is another than by its colours, in {counted(n_apart, 'pixel')}. "
            "Save it as grey 0/255.",
        )
