"""From a probability to a mask, and from a mask to its lesions."""

import cc3d
import numpy as np


def threshold_probability(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Return the mask of pixels whose probability reaches the threshold.

    Args:
        probability: uint8, any shape, in units of 1/255.
        threshold: In (0, 1).

    Returns:
        uint8 of 0 and 1, same shape.
    """
    return (probability >= probability_level(threshold)).astype(np.uint8)


def probability_level(threshold: float) -> int:
    """Return the smallest stored probability (units of 1/255) that reaches the threshold; at least 1."""
    return max(1, int(np.ceil(threshold * 255 - 1e-9)))


def drop_small_lesions(mask: np.ndarray, min_lesion_px: int) -> tuple[np.ndarray, int]:
    """Drop lesions below a size and count the rest.

    A lesion is a connected component; pixels that touch at a corner (2-D) belong together.

    Args:
        mask: uint8 of 0 and 1, `(H, W)`.
        min_lesion_px: Smallest lesion kept, in pixels; 0 or 1 keeps all.

    Returns:
        The mask without the small lesions, uint8 of 0 and 1, and the number of lesions in it.
    """
    labels, n_lesions = cc3d.connected_components(mask, connectivity=8, return_N=True)
    sizes = np.bincount(labels.ravel(), minlength=n_lesions + 1)
    is_kept = sizes >= min_lesion_px
    is_kept[0] = False  # the background
    return is_kept[labels].astype(np.uint8), int(is_kept.sum())
