"""A stand-in for a trained model, which sees what is bright: it goes through the real steps on real Ray.

Actors import this module: it loads nothing that a model does not need.
"""

from dataclasses import dataclass

import numpy as np

from tasks.core.catalog import Precision
from tasks.core.precision import ChosenPrecision
from tasks.core.test_time_flips import predict_with_flips
from tasks.io.outputs import bundles

BRIGHT = 150


@dataclass(frozen=True, slots=True)
class BrightModel:
    """Sees what is bright, but nothing in the left quarter of a slice: mirror images tell it otherwise.

    Attributes:
        flips: Whether it averages over mirror images.
        precision: It has none.
    """

    flips: bool
    precision: ChosenPrecision | None = None

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of each pixel, uint8 `(1, N, H, W)` in units of 1/255, of slices `(N, H, W)`."""
        return predict_with_flips(_see, images) if self.flips else _see(images)


def _see(images: np.ndarray) -> np.ndarray:
    seen = np.where(images > BRIGHT, 255, 0).astype(np.uint8)
    seen[:, :, : images.shape[2] // 4] = 0
    return seen[np.newaxis]


def load_bright(
    model_uri: str, precision: Precision, member: int | None = None, *, test_time_flips: bool | None = None
) -> BrightModel:
    """Return the stand-in, flipping as its card says, of one network its part, unless the run says otherwise."""
    card = bundles.read_card(model_uri)
    if member is not None:
        card = card.alone(member)
    return BrightModel(card.test_time_flips if test_time_flips is None else test_time_flips)
