"""Quality flags: what makes a scan or its mask worth a look, one function and one limit each.

A flag says nothing about the patient and leaves the exit code alone. A fact that is unknown (None) raises no flag.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tasks.core.record import Record


class FlagLimits(Record):
    """Limits of the flags; a bundle may have its own.

    Attributes:
        min_lung_like_share: Least share of voxels between -950 and -500 HU: 0.08 to 0.21 in the CTs of the tests.
        max_drift: Largest drift score.
        min_quality: Least expected Dice.
        max_faint: Largest probability in a scan with an empty mask. Of unseen slices with an empty mask, 8 of the 101
            with a lesion are above it, and 2 of the 832 without (infra/docs/accuracy.md).
        min_lung_share: Least share of a volume's voxels that the model takes for lung.
        min_lung_ml: Least lung volume, ml. Adults have 2,000 to 8,000 ml, consolidated lungs less.
        max_lung_ml: Largest lung volume, ml.
        max_outside_lung: Largest share of the lesion voxels outside the lung.
        max_involvement: Largest share of the lung that is lesion.
        max_lesions: Largest number of lesions of a volume.
        max_lesion_ml: Largest volume of all lesions, ml.
        max_end_share: Largest lung area of a volume's first or last slice, as a share of its largest.
        max_border_share: Largest share of the border of the slices with lung that is lung.
        max_missing_share: Largest share of slices that are missing.
        max_step_mm: Largest distance between slices, mm.
        min_width_mm: Least width of the slices, mm.
        max_warnings: Largest number of warnings of the reader.
    """

    min_lung_like_share: float = 0.01
    max_drift: float = 1.0
    min_quality: float = 0.45
    max_faint: float = 0.1
    min_lung_share: float = 0.005
    min_lung_ml: float = 700.0
    max_lung_ml: float = 12_000.0
    max_outside_lung: float = 0.5
    max_involvement: float = 0.8
    max_lesions: int = 300
    max_lesion_ml: float = 4_000.0
    max_end_share: float = 0.4
    max_border_share: float = 0.05
    max_missing_share: float = 0.0
    max_step_mm: float = 10.0
    min_width_mm: float = 150.0
    max_warnings: int = 0


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """Facts about a scan and its mask; None where they are unknown or mean nothing.

    Attributes:
        n_lesions: Lesions of the mask.
        lesion_voxels: Lesion voxels.
        lesion_ml: Lesion volume, ml.
        lung_like_share: Share of voxels with values as of aerated lung; None if values are no Hounsfield units.
        drift: Drift score.
        quality: Expected Dice of a mask that is not empty.
        faint: Largest probability in a scan with an empty mask.
        lung_share: Share of a volume's voxels that are lung, by the model.
        lung_ml: Lung volume, ml.
        outside_lung: Share of the lesion voxels outside the lung.
        involvement: Lesion inside the lung divided by lung.
        end_share: Lung area of a volume's first or last slice, whichever is larger, divided by its largest.
        border_share: Share of the border of the slices with lung that is lung.
        missing_share: Share of the slices that are missing.
        step_mm: Distance between slices of a volume.
        width_mm: Width of the slices of a volume with lung.
        n_warnings: Warnings of the reader.
    """

    n_lesions: int
    lesion_voxels: int
    lesion_ml: float | None = None
    lung_like_share: float | None = None
    drift: float | None = None
    quality: float | None = None
    faint: float | None = None
    lung_share: float | None = None
    lung_ml: float | None = None
    outside_lung: float | None = None
    involvement: float | None = None
    end_share: float | None = None
    border_share: float | None = None
    missing_share: float | None = None
    step_mm: float | None = None
    width_mm: float | None = None
    n_warnings: int = 0


@dataclass(frozen=True, slots=True)
class Flag:
    """Quality flag.

    Attributes:
        is_raised: Function from facts and limits to whether it is raised.
        sentence: What it means and what to do, for whoever reads the report.
    """

    is_raised: Callable[[ScanFacts, FlagLimits], bool]
    sentence: str


def _above(value: float | None, limit: float) -> bool:
    return value is not None and value > limit


def _below(value: float | None, limit: float) -> bool:
    return value is not None and value < limit


FLAGS: dict[str, Flag] = {
    "no_lesion": Flag(
        lambda facts, _: facts.n_lesions == 0,
        "The mask is empty.",
    ),
    "hu_implausible": Flag(
        lambda facts, limits: _below(facts.lung_like_share, limits.min_lung_like_share),
        "Hardly a voxel has the value of aerated lung: no chest, or no Hounsfield units. The mask may mean nothing.",
    ),
    "out_of_domain": Flag(
        lambda facts, limits: _above(facts.drift, limits.max_drift),
        "The scan looks unlike the training data. Lesions may be missed.",
    ),
    "low_quality": Flag(
        lambda facts, limits: _below(facts.quality, limits.min_quality),
        "An expert's mask is expected to differ much from this one.",
    ),
    "faint_lesion": Flag(
        lambda facts, limits: _above(facts.faint, limits.max_faint),
        "The mask is empty, but something comes near a lesion. One may be missed.",
    ),
    "no_lung": Flag(
        lambda facts, limits: _below(facts.lung_share, limits.min_lung_share),
        "The model finds hardly any lung in the volume. Is it a chest, and upright?",
    ),
    "lung_small": Flag(
        lambda facts, limits: _below(facts.lung_ml, limits.min_lung_ml),
        "The lung is smaller than a lung is. Is all of it in the scan, and is the spacing right?",
    ),
    "lung_large": Flag(
        lambda facts, limits: _above(facts.lung_ml, limits.max_lung_ml),
        "The lung is larger than a lung is. Is the spacing right?",
    ),
    "lesion_outside_lung": Flag(
        lambda facts, limits: _above(facts.outside_lung, limits.max_outside_lung),
        "Most of the mask lies outside the lung. Check it before its volume is used.",
    ),
    "involvement_implausible": Flag(
        lambda facts, limits: _above(facts.involvement, limits.max_involvement),
        "Nearly all of the lung is taken for lesion. Check the mask.",
    ),
    "many_lesions": Flag(
        lambda facts, limits: facts.n_lesions > limits.max_lesions,
        "More lesions than a patient has: the scan may be noisy, or not what the model was trained for.",
    ),
    "lesion_large": Flag(
        lambda facts, limits: _above(facts.lesion_ml, limits.max_lesion_ml),
        "The lesions are larger than lungs allow. Is the spacing right?",
    ),
    "lung_cut_at_ends": Flag(
        lambda facts, limits: _above(facts.end_share, limits.max_end_share),
        "The scan ends inside the lung: volumes and shares are of a part of it.",
    ),
    "lung_cut_at_border": Flag(
        lambda facts, limits: _above(facts.border_share, limits.max_border_share),
        "The lung reaches the border of the slices: the field of view cuts it off, or the slices are cropped.",
    ),
    "slices_missing": Flag(
        lambda facts, limits: _above(facts.missing_share, limits.max_missing_share),
        "Slices of the series are missing; the mask is empty there.",
    ),
    "slices_far_apart": Flag(
        lambda facts, limits: _above(facts.step_mm, limits.max_step_mm),
        "Slices lie so far apart that lesions between them are not seen, and volumes are rough.",
    ),
    "field_of_view_small": Flag(
        lambda facts, limits: _below(facts.width_mm, limits.min_width_mm),
        "Lung shows in slices that are narrower than a chest. Is the spacing right, or are they cropped?",
    ),
    "reader_warning": Flag(
        lambda facts, limits: facts.n_warnings > limits.max_warnings,
        "Something was left out or taken for granted when the scan was read; its warnings say what.",
    ),
}
"""Registry of flags; a new one is a function, its limit in `FlagLimits`, and a line here."""


def label(name: str) -> str:
    """Return the name of a flag as readers see it; files have `name` itself."""
    return name.replace("_", " ")


def flags_of(facts: ScanFacts, limits: FlagLimits) -> list[str]:
    """Return the names of the flags that are raised, in the order of `FLAGS`."""
    return [name for name, flag in FLAGS.items() if flag.is_raised(facts, limits)]
