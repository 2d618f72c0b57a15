"""Lung of a scan on the source grid: its volume, and how much of it is lesion."""

from dataclasses import dataclass

import numpy as np

from tasks.core.geometry import restore_probability
from tasks.core.postprocess import threshold_probability
from tasks.stages.chunk import Predicted

LUNG_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class LungMeasures:
    """Voxels of a scan's lungs; all None if the model has no lung output.

    Attributes:
        n_voxels: Voxels of the lungs.
        n_lesion: Voxels that are lung and lesion.
        end_share: Lung area of the first or last slice, whichever is larger, divided by the largest; None without lung.
        border_share: Share of the border pixels, of slices with lung, that are lung; None without lung.
    """

    n_voxels: int | None = None
    n_lesion: int | None = None
    end_share: float | None = None
    border_share: float | None = None

    @property
    def involvement(self) -> float | None:
        """Lesion inside the lungs divided by lung; None without lung."""
        return self.n_lesion / self.n_voxels if self.n_voxels and self.n_lesion is not None else None

    def volume_ml(self, voxel_mm3: float | None) -> float | None:
        """Return the volume of the lungs; None without spacing."""
        return None if self.n_voxels is None or voxel_mm3 is None else self.n_voxels * voxel_mm3 / 1000


def measure_lung(predicted: Predicted, lesions: np.ndarray, held: np.ndarray) -> LungMeasures:
    """Return the measures of a scan.

    Slices are resized one by one: a mask of all lungs would double the memory of a large scan.

    Args:
        predicted: Its slices.
        lesions: Final lesion mask on the source grid, `(N, H, W)` of 0 and 1.
        held: Whether each slice is there, `(N,)`.
    """
    if predicted.lung is None:
        return LungMeasures()
    areas: list[int] = []
    n_lesion = n_border = 0
    for number in np.flatnonzero(held):
        mask = lesions[number]
        lung = lung_slice(predicted.lung[number], mask.shape)
        areas.append(int(np.count_nonzero(lung)))
        n_lesion += int(np.count_nonzero(lung & mask))
        n_border += int(sum(np.count_nonzero(side) for side in (lung[0], lung[-1], lung[1:-1, 0], lung[1:-1, -1])))
    if not any(areas):
        return LungMeasures(0, n_lesion)
    height, width = lesions.shape[1:]
    border_px = 2 * (height + width - 2) * sum(area > 0 for area in areas)
    return LungMeasures(
        sum(areas), n_lesion, end_share=max(areas[0], areas[-1]) / max(areas), border_share=n_border / border_px
    )


def lung_slice(probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the lung mask of a slice on the source grid, uint8 `(H, W)` of 0 and 1.

    Args:
        probability: uint8 `(size_px, size_px)`, in units of 1/255.
        shape: (H, W) of the slice.
    """
    return threshold_probability(restore_probability(probability, shape), LUNG_THRESHOLD)
