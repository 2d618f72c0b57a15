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

    def resized(self, image: np.ndarray) -> np.ndarray:
        """Return an 8-bit slice, uint8 `(H, W)`, at the network's size: uint8 `(size_px, size_px)`."""
        return resize_slice(image, self.size_px)

    def of_resized(self, image: np.ndarray) -> np.ndarray:
        """Return a slice of the network's size as the network takes it, of the same shape."""
        return INTENSITY_RULES[self.intensity_rule](image)
