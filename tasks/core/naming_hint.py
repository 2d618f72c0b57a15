"""Hint for names that no rule knows: a pattern under which several slices would be of one patient."""

from collections.abc import Sequence
from typing import Final

from tasks.core.naming_rules import SliceName, custom_naming, identify_slice

_PATTERNS: Final = (
    r"^(?P<patient>[^/]+)/(?:.*\D)?(?P<slice>\d{1,9})$",
    r"^(?P<patient>.+)/(?:[^/]*\D)?(?P<slice>\d{1,9})$",
    r"^(?P<patient>[^_\-.\s/]*\d[^_\-.\s/]*)[_\-.\s](?:.*\D)?(?P<slice>\d{1,9})$",
    r"^(?P<patient>[^/]+)[_\-.\s][^\W\d_]*(?P<slice>\d{1,9})$",
    r"^(?P<patient>[^/]*[^\d_\-.\s/])[_\-.\s]*(?P<slice>\d{1,9})$",
)
"""A folder per patient, at the top or the bottom; a first word with a number, any words, or letters, before a slice.
None has a space, at which a terminal would break the line."""

_OF_FOLDERS: Final = (
    r"^(?P<patient>[^/]+)/(?P<case>.+)/(?:[^/]*\D)?(?P<slice>\d{1,9})$",
    r"^(?P<patient>[^/]+)/(?:[^/]*\D)?(?P<slice>\d{1,9})$",
)
"""A folder per patient above the folder of images, with folders per case below that or without."""

_NO_PATIENTS: Final = {"train", "training", "val", "valid", "validation", "test", "testing"}
"""Folders that split a collection."""

ONE_EACH: Final = "(?P<patient>.+)"
"""Pattern that says that every slice is of another patient."""


def pattern_that_fits(names: Sequence[SliceName]) -> tuple[str, int] | None:
    """Return a pattern that gives every image a slice of its own, and its number of patients; None if none does.

    A pattern fits if there are at least two patients with, on average, at least two slices. What the names say comes
    before the folders that they lie in.
    """
    without_folders = [SliceName(name.stem) for name in names]
    for patterns, known in ((_PATTERNS, without_folders), (_OF_FOLDERS, names)):
        for pattern in patterns:
            n_patients = _n_patients(pattern, known)
            if n_patients:
                return pattern, n_patients
    return None


def _n_patients(pattern: str, names: Sequence[SliceName]) -> int | None:
    """Return the number of patients that a pattern gives names; None if it does not fit."""
    naming = custom_naming(pattern)
    found = [identify_slice(name.stem, naming, folder=name.folder) for name in names]
    slices = {(one.case_id, one.slice_index) for one in found}
    patients = {one.patient_id for one in found}
    if not all(one.is_known for one in found) or len(slices) < len(names):
        return None
    if {patient.lower() for patient in patients} & _NO_PATIENTS:
        return None
    return len(patients) if 2 <= len(patients) <= len(names) / 2 else None
