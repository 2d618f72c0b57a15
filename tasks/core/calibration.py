"""Calibration: how well predicted probabilities agree with the share of pixels that are lesion.

Source of the definitions: Guo et al., On calibration of modern neural networks, ICML 2017, arXiv 1706.04599.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.probability_histogram import N_LEVELS, ProbabilityHistogram

N_BINS = 10
FOREGROUND_LEVEL = 13
"""Probability, in units of 1/255, from which a pixel counts as foreground: 0.05. Over all pixels the error is small for
any model, because nearly all of them are certain background."""
CONVENTION = (
    f"Expected calibration error (ECE): mean over {N_BINS} equal bins of probability of |mean probability - share of "
    "lesion|, weighted by pixels; over all pixels, and over those of probability 0.05 and more."
)


@dataclass(frozen=True, slots=True)
class Reliability:
    """Reliability diagram: what is predicted and what is true, by bin of probability.

    Attributes:
        n_pixels: int64 `(N_BINS,)`.
        probability: Mean probability of each bin, float64 `(N_BINS,)`; NaN where it is empty.
        lesion_fraction: Share of its pixels that are lesion, likewise.
    """

    n_pixels: np.ndarray
    probability: np.ndarray
    lesion_fraction: np.ndarray

    @classmethod
    def of(cls, histogram: ProbabilityHistogram, *, from_level: int = 0) -> "Reliability":
        """Return the diagram of the pixels with probabilities of at least `from_level`/255."""
        levels = np.arange(from_level, N_LEVELS)
        bins = levels * N_BINS // N_LEVELS
        lesion = histogram.lesion[from_level:]
        together = lesion + histogram.healthy[from_level:]
        n_pixels, n_lesion, summed = (
            np.bincount(bins, of, minlength=N_BINS) for of in (together, lesion, together * levels / 255)
        )
        with np.errstate(invalid="ignore"):
            return cls(n_pixels.astype(np.int64), summed / n_pixels, n_lesion / n_pixels)

    @property
    def expected_error(self) -> float | None:
        """Expected calibration error; None without pixels."""
        if not self.n_pixels.sum():
            return None
        gaps = np.abs(np.nan_to_num(self.probability - self.lesion_fraction))
        return float((self.n_pixels * gaps).sum() / self.n_pixels.sum())


def calibration_of(histogram: ProbabilityHistogram) -> dict[str, Any]:  # Any: a number, or a list of rows
    """Return the calibration errors and the rows of the reliability diagram, as in metrics.json."""
    diagram = Reliability.of(histogram)
    rows = zip(diagram.n_pixels, diagram.probability, diagram.lesion_fraction, strict=True)
    return {
        "ece": diagram.expected_error,
        "ece_foreground": Reliability.of(histogram, from_level=FOREGROUND_LEVEL).expected_error,
        "bins": [
            {
                "n_pixels": int(n_pixels),
                "probability": float(probability) if n_pixels else None,
                "lesion_fraction": float(fraction) if n_pixels else None,
            }
            for n_pixels, probability, fraction in rows
        ],
    }
