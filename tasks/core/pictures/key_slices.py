"""Choice of the slices that stand for a scan in its preview."""

from collections.abc import Sequence

import numpy as np


def key_slices(lesion_areas: Sequence[int] | np.ndarray) -> list[int]:
    """Return the slice with the largest lesion, and those a quarter into the lesions from either end.

    Args:
        lesion_areas: Lesion pixels of each slice, in the order of reading. Without any lesion the slices themselves are
            halved and quartered.

    Returns:
        Up to three indices, ascending.
    """
    areas = np.asarray(lesion_areas)
    largest = int(areas.argmax()) if areas.any() else len(areas) // 2
    with_lesion = np.flatnonzero(areas) if areas.any() else np.arange(len(areas))
    return sorted({largest, *(int(np.quantile(with_lesion, share)) for share in (0.25, 0.75))})
