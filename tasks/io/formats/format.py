"""Record of an input format: which files it takes, what one of them holds, and what reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.core.volumes import Grid, Volume

Layout = Literal["slice", "stack", "volume", "series"]
"""How a scan lies in files: a slice per file, many such files, a volume per file, or a DICOM series of files."""

AxisOrder = Literal["kji", "ijk"]
"""Axes of a stored array: kji is (slice, row, column), as most libraries hand it out; ijk is NIfTI's reverse of it."""


@dataclass(frozen=True, slots=True)
class Format:
    """Input format: an entry of `FORMATS`.

    Readers take the whole file and raise a `DataError` on whatever else they are given. A format of slices has
    `read_slice` and `read_labels`, one of volumes `read_volume`; a series of files has none of them (`dicom_series`).
    Heavy libraries are imported inside readers.

    Attributes:
        name: What indexes and the ledger call it.
        shown: What sentences call it.
        suffixes: Of its files, lower case, with the dot; may be double, as `.nii.gz`.
        read_slice: Grey values `(H, W)` of a slice.
        read_labels: Values `(H, W)` of a mask of one slice, as stored.
        read_volume: Voxels and grid of a volume; a mask of one is read by it too.
        read_grid: Grid of a volume from its header alone; without it the volume is read.
        axis_order: Of the volume's array; its mask is written in the same.
    """

    name: str
    shown: str
    suffixes: tuple[str, ...]
    read_slice: Callable[[bytes], np.ndarray] | None = None
    read_labels: Callable[[bytes], np.ndarray] | None = None
    read_volume: Callable[[bytes], Volume] | None = None
    read_grid: Callable[[bytes], Grid] | None = None
    axis_order: AxisOrder = "kji"

    @property
    def layout(self) -> Layout:
        """How a scan of this format lies in files."""
        if self.read_slice:
            return "slice"
        return "volume" if self.read_volume else "series"
