"""Hint for names that no rule knows: a pattern under which several slices would be of one patient."""

from collections.abc import Sequence
from typing import Final

from tasks.core.naming_rules import custom_naming, identify_slice

_PATTERNS: Final = (
    r"^(?P<patient>[^/]+)/(?:.*\D)?(?P<slice>\d{1,9})$",
    r"^(?P<patient>.+)/(?:[^/]*\D)?(?P<slice>\d{1,9})$",
    r"^(?P<patient>[^_\-.\s/]*\d[^_\-.\s/]*)[_\-.\s](?:.*\D)?(?P<slice>\d{1,9})$",
    r"^(?P<patient>[^/]+)[_\-.\s][^\W\d_]*(?P<slice>\d{1,9})$",
    r"^(?P<patient>[^/]*[^\d_\-.\s/])[_\-.\s]*(?P<slice>\d{1,9})$",
)
"""A folder per patient, at the top or the bottom; a first word with a number, any words, or letters, before a slice.
None has a space, at which a terminal would break the line."""

ONE_EACH: Final = "(?P<patient>.+)"
"""Pattern that says that every slice is of another patient."""


def pattern_that_fits(paths: Sequence[str]) -> tuple[str, int] | None:
    """Return a pattern that gives every path a slice of its own, and its number of patients; None if none does.

    A pattern fits if there are at least two patients with, on average, at least two slices.

    Args:
        paths: Paths of images below their folder, without suffix.
    """
    for pattern in _PATTERNS:
        naming = custom_naming(pattern)
        found = [identify_slice(path, naming) for path in paths]
        slices = {(one.case_id, one.slice_index) for one in found}
        patients = {one.patient_id for one in found}
        if all(one.is_known for one in found) and len(slices) == len(paths) and 2 <= len(patients) <= len(paths) / 2:
            return pattern, len(patients)
    return None
