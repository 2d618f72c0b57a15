"""Version of the code that decides a mask, besides model and parameters."""

from typing import Final

MASK_VERSION: Final = "2"
"""Raised by hand when the same scan, model and parameters give another mask: reading, windows, resizing, prediction,
threshold, small lesions, geometry, encoding of values. Finished scans of another version are segmented again; a release
that changes no mask keeps the version. `tests/stages/test_golden_masks.py` fails if masks change and the version does
not; network and test-time flips are not in that test.
"""

_OF_FORMATS: Final = {"nifti": "3"}
"""Version of formats whose masks alone changed: since 3, masks of NIfTI have both positions of their image."""


def mask_version_of(kind: str) -> str:
    """Return the version of the masks of a format."""
    return _OF_FORMATS.get(kind, MASK_VERSION)
