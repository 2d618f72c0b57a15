"""Records of formats: what reads the files of scans, and what writes those of masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.volumes import AxisOrder, Grid, Layout, Volume

Kind = str
"""Name of a scan's format, or `stack`: slices of a file each that are one scan."""


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


@dataclass(frozen=True, slots=True)
class DicomHeads:
    """Headers of a DICOM series.

    Attributes:
        heads: First bytes of each file, with its whole header, in the order of the slices as stored; of a multi-frame
            source of the one file.
        frames: Of a multi-frame source, the frame of each slice as stored; else empty.
    """

    heads: Sequence[bytes]
    frames: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class ScanMask:
    """Mask of a scan, and what a writer may need besides.

    Attributes:
        voxels: uint8 of 0 and 1, `(D, H, W)`, as a reader sees the scan; of a slice `(1, H, W)`.
        grid: Of the scan as stored; None where it has no position in space.
        axis_order: Of the scan as stored.
        read_heads: Reads the headers of a DICOM series again, which only some formats need.
        model_digest: Of the bundle.
        code_version: Of this package.
    """

    voxels: np.ndarray
    grid: Grid | None
    axis_order: AxisOrder
    read_heads: Callable[[], DicomHeads]
    model_digest: str = ""
    code_version: str = ""

    def as_stored(self, axis_order: AxisOrder) -> tuple[np.ndarray, Grid]:
        """Return the mask as the scan is stored, its axes in an order, and its grid; without one, in voxels."""
        if self.grid is None:
            stored, grid, found = self.voxels.T, Grid(self.voxels.T.shape, np.eye(4)), "ijk"
        else:
            stored, grid, found = self.grid.from_reading(self.voxels), self.grid, self.axis_order
        return (stored, grid) if found == axis_order else (stored.T, grid.transposed())


@dataclass(frozen=True, slots=True)
class MaskWriter:
    """Output format of masks: an entry of `WRITERS`.

    The first writer of a scan writes its mask, which the table of scans names. The others write beside it: what they
    cannot write is a warning.

    Attributes:
        name: What the parameters' digest calls it.
        shown: What sentences call it.
        suffix: Of its files, without the first dot.
        layouts: Scans it is for, by how they lie in files.
        write: Returns the file of a mask; of a first writer the same mask gives the same bytes.
        asked_by: Field of `SegmentationConfig` that switches it on; None is always on.
    """

    name: str
    shown: str
    suffix: str
    layouts: frozenset[Layout]
    write: Callable[[ScanMask], bytes]
    asked_by: str | None = None
