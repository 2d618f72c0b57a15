"""Scores of the lung output, on slices that have a reference lung mask."""

from dataclasses import dataclass, field

import numpy as np

from tasks.core.metrics import Counts, count_pixels, dice
from tasks.core.postprocess import threshold_probability
from tasks.stages.lung_measures import LUNG_THRESHOLD


@dataclass(frozen=True, slots=True)
class LungScore:
    """Score of a patient's lungs at the model's input size, summed over slices.

    Attributes:
        counts: Pixel counts of the lung.
        n_predicted: Pixels that are predicted lung and predicted lesion.
        n_reference: Pixels that are lung and lesion in the references.
    """

    counts: Counts = field(default_factory=Counts)
    n_predicted: int = 0
    n_reference: int = 0

    def __add__(self, later: "LungScore") -> "LungScore":
        return LungScore(
            self.counts + later.counts,
            self.n_predicted + later.n_predicted,
            self.n_reference + later.n_reference,
        )

    @classmethod
    def of_slice(
        cls, probability: np.ndarray, lung: np.ndarray, *, prediction: np.ndarray, reference: np.ndarray
    ) -> "LungScore":
        """Return the score of a slice.

        Args:
            probability: Lung probabilities, uint8 `(size_px, size_px)`, in units of 1/255.
            lung: Reference lung, uint8 of 0 and 1, same shape.
            prediction: Predicted lesions of 0 and 1, same shape.
            reference: Reference lesions, likewise.
        """
        found = threshold_probability(probability, LUNG_THRESHOLD)
        n_predicted, n_reference = (int(np.count_nonzero(each)) for each in (found & prediction, lung & reference))
        return cls(count_pixels(found, lung), n_predicted, n_reference)

    def figures(self) -> dict[str, float | None]:
        """Return Dice of the lung, and predicted and reference involvement; None without a lung mask or lung."""
        n_found, n_lung = self.counts.tp + self.counts.fp, self.counts.tp + self.counts.fn
        return {
            "lung_dice": dice(self.counts),
            "lung_involvement": self.n_predicted / n_found if n_found else None,
            "lung_involvement_reference": self.n_reference / n_lung if n_lung else None,
        }
