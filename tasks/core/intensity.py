"""Conversion of stored pixel values to 8-bit model input and binary masks."""

from typing import Final

import numpy as np

from tasks.core.catalog import IntensityRule, MaskRule
from tasks.core.config.intensity import HuConfig
from tasks.core.errors import DataError

INTENSITY_RULE: Final[IntensityRule] = "slice_8bit"
"""Rule of datasets: 8-bit values as stored, wider ones stretched from minimum to maximum of the slice."""

FEW_VALUES = 10
"""Largest number of values that are taken for labels; a lossy format leaves more around black and white."""


def slice_to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Return a grey slice as 8 bits: 8-bit values as stored, wider ones stretched from the slice's minimum to maximum.

    Args:
        pixels: Grey values `(H, W)`, any integer or float dtype.

    Returns:
        uint8 array `(H, W)`; all zero if a wider slice is constant.

    Raises:
        DataError: `non_finite`, if a value is not a number or infinite.
    """
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype(np.float64)
    n_bad = int(np.count_nonzero(~np.isfinite(values)))
    if n_bad:
        raise DataError("non_finite", f"{n_bad} pixels are not a number or infinite; export the slice again.")
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(pixels.shape, np.uint8)
    stretched: np.ndarray = np.rint((values - low) * 255 / (high - low))
    return stretched.astype(np.uint8)


AIR_HU, DENSEST_HU = -1024.0, 3071.0
"""Range of a 12-bit CT, HU; padding outside the field of view is below it, for example -2000."""


def hu_to_uint8(voxels_hu: np.ndarray, rule: HuConfig) -> np.ndarray:
    """Map CT values to the 8-bit input of a model.

    Args:
        voxels_hu: Hounsfield units `(H, W)`, finite.
        rule: `window` maps level ± width/2 to 0 … 255; `slice_min_max` maps minimum to maximum of the slice.

    Returns:
        uint8 `(H, W)`.

    Source: DICOM PS3.3 C.11.2.1.3.2, VOI LUT Function LINEAR_EXACT.
    """
    values = np.clip(voxels_hu.astype(np.float32), AIR_HU, DENSEST_HU)
    if rule.mapping == "slice_min_max":
        low, high = float(values.min()), float(values.max())
    else:
        low, high = rule.window_level_hu - rule.window_width_hu / 2, rule.window_level_hu + rule.window_width_hu / 2
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    mapped: np.ndarray = np.rint((np.clip(values, low, high) - low) * (255 / (high - low)))
    return mapped.astype(np.uint8)


def _advice(found: np.ndarray) -> str:
    """Return what to do about a mask of several values: with a lossy format they lie around black and white."""
    is_blurred = found.size > FEW_VALUES and found.max() <= 255 and np.ptp(found) > 255 / 2
    if is_blurred:
        return "Set preparation.mask_rule to half if it was saved as JPEG or resized, else mend the mask."
    return "Set preparation.mask_rule to nonzero if every value above 0 counts, else mend the mask."


def mask_values(values: np.ndarray) -> str:
    """Return the sentence about a mask that is not binary: the values it holds, and those that were expected."""
    found = np.unique(values)
    shown = ", ".join(map(str, found[:6].tolist())) + (", …" if found.size > 6 else "")
    return f"Mask holds the {found.size} values {{{shown}}}; {{0,1}} or {{0,255}} was expected."


def binarise_mask(values: np.ndarray, rule: MaskRule) -> np.ndarray:
    """Map stored mask values to 0 and 1.

    Args:
        values: Stored values `(H, W)`, any integer dtype.
        rule: `binary` accepts {0, 1}, {0, 255} and {0, 65535} (either value may be missing); `half` takes values above
            half of full scale (1, 255, or the largest value if it is above); `nonzero` takes all above 0.

    Returns:
        uint8 array `(H, W)` of 0 and 1.

    Raises:
        DataError: `mask_values`, if the values are not binary under the rule `binary`.
    """
    if rule == "half":
        largest = int(values.max(initial=0))
        scale = next(scale for scale in (1, 255, largest) if largest <= scale)
        return (values > min(scale, 65535) / 2).astype(np.uint8)
    if rule == "binary":
        found = np.unique(values)
        if not any(set(found.tolist()) <= {0, on} for on in (1, 255, 65535)):
            raise DataError("mask_values", f"{mask_values(found)} {_advice(found)}")
    return (values > 0).astype(np.uint8)
