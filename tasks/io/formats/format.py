"""Records of formats: readers of scans and writers of masks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.core.turns import STORED
from tasks.core.volumes import AxisOrder, Grid, Layout, Volume

Kind = str
"""Name of a scan's format, or `stack` for slice files joined into one scan."""


@dataclass(frozen=True, slots=True)
class Format:
    """Input format: an entry of `FORMATS`.

    Readers take the whole file and raise a `DataError` on invalid content. A format of slices has `read_slice` and
    `read_labels`, one of volumes `read_volume`; a series of files has none of them (`dicom_series`).
    Heavy libraries are imported inside readers.

    Attributes:
        name: Name in indexes and in the ledger.
        shown: Name in messages.
        suffixes: Suffixes of its files, lower case, with the dot; may be double, as `.nii.gz`.
        read_slice: Reader of the grey values `(H, W)` of a slice.
        read_labels: Reader of the stored values `(H, W)` of a slice's mask.
        read_orientation: Reader of the orientation in which a slice is to be shown (`core.turns`).
        read_volume: Reader of a volume, also of its mask.
        read_grid: Reader of the grid from the header alone; without it the volume is read.
        axis_order: Axis order of the array, and of the mask that is written.
        data_suffixes: Suffixes of the file with the voxels, by the suffix of a header that has them in another file.
        read_pair: Reader of such a header, its voxels and the name of their file.
    """

    name: str
    shown: str
    suffixes: tuple[str, ...]
    read_slice: Callable[[bytes], np.ndarray] | None = None
    read_labels: Callable[[bytes], np.ndarray] | None = None
    read_orientation: Callable[[bytes], int] | None = None
    read_volume: Callable[[bytes], Volume] | None = None
    read_grid: Callable[[bytes], Grid] | None = None
    axis_order: AxisOrder = "kji"
    data_suffixes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    read_pair: Callable[[bytes, bytes, str], Volume] | None = None

    @property
    def layout(self) -> Layout:
        """Layout of a scan of this format in files."""
        if self.read_slice:
            return "slice"
        return "volume" if self.read_volume else "series"


@dataclass(frozen=True, slots=True)
class DicomHeads:
    """Headers of a DICOM series.

    Attributes:
        heads: First bytes of each file, with its whole header, in the order of the stored slices; of a multi-frame
            source, those of its file.
        frames: Frame of each stored slice of a multi-frame source; else empty.
        missing: Places of the mask without a slice.
    """

    heads: Sequence[bytes]
    frames: Sequence[int] = ()
    missing: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class ScanMask:
    """Mask of a scan, with all that a writer may need.

    Attributes:
        voxels: uint8 of 0 and 1, `(D, H, W)`, in reading orientation; of a slice `(1, H, W)`.
        grid: Grid of the stored scan; None if it has no position in space.
        axis_order: Axis order of the stored scan.
        read_heads: Function that reads the headers of a DICOM series again, for formats that need them.
        model_digest: Digest of the bundle.
        code_version: Version of this package.
        forms: Fields of a NIfTI source's header that say where it lies (`Volume.forms`).
        orientation: Orientation by which a slice was turned to be read (`core.turns`).
        warnings: What writers have to say about their files; they append to it.
    """

    voxels: np.ndarray
    grid: Grid | None
    axis_order: AxisOrder
    read_heads: Callable[[], DicomHeads]
    model_digest: str = ""
    code_version: str = ""
    forms: Mapping[str, np.ndarray] = field(default_factory=dict)
    orientation: int = STORED
    warnings: list[str] = field(default_factory=list)

    def as_stored(self, axis_order: AxisOrder) -> tuple[np.ndarray, Grid]:
        """Return the mask in the stored orientation and a given axis order, and its grid, which may be in voxels."""
        if self.grid is None:
            stored, grid, found = self.voxels.T, Grid(self.voxels.T.shape, np.eye(4)), "ijk"
        else:
            stored, grid, found = self.grid.from_reading(self.voxels), self.grid, self.axis_order
        return (stored, grid) if found == axis_order else (stored.T, grid.transposed())


@dataclass(frozen=True, slots=True)
class MaskWriter:
    """Output format of masks: an entry of `WRITERS`.

    The first writer of a scan writes its mask, which the table of scans names. The others write beside it; if one
    fails, the scan has a warning.

    Attributes:
        name: Name in the parameters' digest.
        shown: Name in messages.
        suffix: Suffix of its files, without the first dot.
        layouts: Layouts of the scans it is for.
        write: Function from a mask to its file; a first writer returns the same bytes for the same mask.
        asked_by: Field of `SegmentationConfig` that switches it on; None = always on.
    """

    name: str
    shown: str
    suffix: str
    layouts: frozenset[Layout]
    write: Callable[[ScanMask], bytes]
    asked_by: str | None = None
