"""Review queue: scans ranked by what a human look is worth, the most urgent first."""

from collections.abc import Sequence
from math import log1p, prod
from typing import Final, Literal

from tasks.core.rows import ScanRow

NOT_COUNTED: Final = frozenset({"no_lesion", "low_quality", "out_of_domain", "faint_lesion"})
"""Flags that raise no rank by themselves: an empty mask is usual, and quality and drift count by their numbers."""

DOUBT_OF_UNKNOWN: Final = 0.4
"""Doubt about a mask of unknown quality: that of an expected Dice of 0.6."""
DOUBT_OF_EMPTY: Final = 0.05
"""Doubt about an empty mask without flags; its quality is 0 by convention and means nothing."""
DOUBT_OF_FAINT: Final = 0.7
"""Doubt about an empty mask in which something came near the threshold: 8 of 10 unseen slices had a lesion."""
DOUBT_OF_FLAG: Final = 0.3
"""Doubt that each further flag adds."""
USUAL_DRIFT: Final = 0.5
"""Drift score below which no doubt is added; the score of 1 is the limit of the training data."""
DOUBT_OF_DRIFT: Final = 0.5
"""Largest doubt that drift adds, at twice the limit and above."""
STAKE_OF_NOTHING: Final = 0.5
"""Stake of an empty mask, relative to that of the largest lesions of the collection: lesions may be missed."""

_Unit = Literal["lesion_ml", "lesion_voxels"]


def ranked(rows: Sequence[ScanRow]) -> list[ScanRow]:
    """Return the segmented scans of a collection, the most urgent first; scans of equal rank by their ids.

    Args:
        rows: Rows of scans of any status; only those with a mask are returned.
    """
    done = [row for row in rows if row.status in ("done", "skipped") and row.mask_uri]
    largest: dict[_Unit, float] = {
        unit: max((_volume(row, unit) for row in done if _unit(row) == unit), default=0.0)
        for unit in ("lesion_ml", "lesion_voxels")
    }
    return sorted(done, key=lambda row: (-_doubt(row) * _stake(row, largest[_unit(row)]), row.scan_id))


def _doubt(row: ScanRow) -> float:
    """Return how likely a correction is, from 0 to 1: doubts of independent causes together."""
    excess = max(0.0, (row.drift_score or 0.0) - USUAL_DRIFT) / (2 - USUAL_DRIFT)
    of_drift = DOUBT_OF_DRIFT * min(1.0, excess)
    n_flags = len(set(row.flags) - NOT_COUNTED)
    return 1 - prod((1 - _doubt_of_mask(row), 1 - of_drift, (1 - DOUBT_OF_FLAG) ** n_flags))


def _doubt_of_mask(row: ScanRow) -> float:
    if not row.n_lesions:
        return DOUBT_OF_FAINT if "faint_lesion" in row.flags else DOUBT_OF_EMPTY
    return DOUBT_OF_UNKNOWN if row.quality is None else min(max(1 - row.quality, 0.0), 1.0)


def _stake(row: ScanRow, largest: float) -> float:
    """Return the lesion volume at stake on a logarithmic scale, relative to the collection's largest, up to 1."""
    share = log1p(_volume(row, _unit(row))) / log1p(largest) if largest else 0.0
    return STAKE_OF_NOTHING + (1 - STAKE_OF_NOTHING) * share


def _unit(row: ScanRow) -> _Unit:
    """Return the unit of a scan's lesions: slice files have no millilitres."""
    return "lesion_voxels" if row.lesion_ml is None else "lesion_ml"


def _volume(row: ScanRow, unit: _Unit) -> float:
    return float(getattr(row, unit) or 0)
