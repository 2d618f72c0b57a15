"""Input of a network: what a slice goes through before it."""

from dataclasses import dataclass

import numpy as np

from tasks.core.catalog import IntensityRule
from tasks.core.config.intensity import HuConfig
from tasks.core.geometry import resize_slice
from tasks.core.landmarks import INTENSITY_RULES


@dataclass(frozen=True, slots=True)
class ModelInput:
    """Input of a network.

    Attributes:
        size_px: Side of a slice.
        hu: Mapping of CT values to 8 bits.
        intensity_rule: Mapping of 8-bit slices.
    """

    size_px: int
    hu: HuConfig
    intensity_rule: IntensityRule

    def of_slice(self, image: np.ndarray) -> np.ndarray:
        """Return an 8-bit slice, uint8 `(H, W)`, as the network takes it: uint8 `(size_px, size_px)`."""
        return INTENSITY_RULES[self.intensity_rule](resize_slice(image, self.size_px))
