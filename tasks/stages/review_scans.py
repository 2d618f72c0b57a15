"""Segmented scans opened again for their review: voxels as stored, and the mask of the prediction on the same grid."""

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from tasks.core.errors import DataError
from tasks.core.rows import ScanRow
from tasks.core.volumes import Grid, Layout, Volume, check_shapes
from tasks.io import storage
from tasks.io.dicom_series import read_slices
from tasks.io.formats import axis_order_of, layout_of, read_image, read_labels, read_volume
from tasks.io.formats.format import ScanMask
from tasks.io.formats.nifti import write_nifti
from tasks.io.outputs import segmentations
from tasks.io.scan_sources import ScanSource
from tasks.io.scans import entry_of
from tasks.stages.encode_masks import read_heads
from tasks.stages.load_scans import name_of, read_stored_volume

UPRIGHT: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Affine given to scans without position in space, in pixels: columns to the left, rows to the back, so that viewers
show them as the picture is."""


@dataclass(frozen=True, slots=True)
class ReviewScan:
    """Scan as stored, and its predicted mask.

    Attributes:
        source: Scan as listed.
        row: Its row in the table of scans.
        layout: Layout of the scan.
        volume: Its voxels; of slice files `(column, row, slice)`.
        prediction: uint8 of 0 and 1, of the same shape.
    """

    source: ScanSource
    row: ScanRow
    layout: Layout
    volume: Volume
    prediction: np.ndarray

    @property
    def has_position(self) -> bool:
        """Whether it lies in space; slice files do not."""
        return self.layout in ("volume", "series")

    @property
    def slice_uris(self) -> list[str]:
        """URI of the scan; of a stack, of each of its slices."""
        return [part.uri for part in self.source.parts] or [self.source.uri]

    def to_nifti(self, voxels: np.ndarray) -> bytes:
        """Return an array of the volume's shape as NIfTI, on the grid of the scan."""
        if self.has_position and axis_order_of(self.source.kind) == "kji":
            return write_nifti(voxels.T, self.volume.grid.transposed())
        return write_nifti(voxels, self.volume.grid, self.volume.forms)

    def scan_mask(self) -> ScanMask:
        """Return the prediction as writers of masks take it."""
        return ScanMask(
            self.volume.grid.to_reading(self.prediction),
            self.volume.grid,
            axis_order_of(self.source.kind),
            read_heads=partial(read_heads, self.source),
            model_digest=self.row.model_digest,
            code_version=self.row.code_version,
        )


def open_scan(source: ScanSource, row: ScanRow, output_uri: str) -> ReviewScan:
    """Return a segmented scan with its mask.

    Raises:
        DataError: `changed` if scan or mask are not those of the table, `missing_slices` if the series is not whole, or
            what the reader rejects.
        StorageError: If scan or mask are gone or the store does not answer.
    """
    if source.fingerprint != row.source_fingerprint:
        raise DataError("changed", "The scan changed since it was segmented. Segment it again, then review it.")
    layout = layout_of(source.kind)
    volume = _volume(source, layout)
    prediction = read_prediction(row, output_uri, layout).voxels
    if layout in ("series", "volume") and axis_order_of(source.kind) == "kji":
        prediction = prediction.T
    if prediction.shape != volume.voxels.shape:
        raise DataError("changed", "The mask has not the shape of the scan any more. Segment it again.")
    return ReviewScan(source, row, layout, volume, prediction)


def compact(voxels: np.ndarray) -> np.ndarray:
    """Return voxels in a type that every viewer reads: 8 bits as they are, whole numbers as int16, others float32."""
    if voxels.dtype == np.uint8:
        return voxels
    limits = np.iinfo(np.int16)
    if voxels.min() >= limits.min and voxels.max() <= limits.max:
        whole = voxels.astype(np.int16)
        if np.array_equal(whole, voxels):
            return whole
    return voxels.astype(np.float32)


def _volume(source: ScanSource, layout: Layout) -> Volume:
    index, entry = entry_of(source)
    if layout == "volume":
        volume = read_stored_volume(source, index.read(entry.files[0]))
        volume.check()
        return volume
    if layout == "series":
        if entry.grid is None:
            raise DataError("missing_position", "The series has no grid.")
        if entry.missing:
            raise DataError(
                "missing_slices",
                f"{len(entry.missing)} of {entry.grid.shape[0]} slices are missing; a corrected series must be whole.",
            )
        return Volume(read_slices(index, entry, 0, entry.n_slices), entry.grid, entry.warnings)
    slices = storage.map_in_parallel(_slice, source.parts or (source,))
    check_shapes((one.shape[0], one.shape[1]) for one in slices)
    voxels = np.stack(slices).T
    return Volume(voxels, Grid(voxels.shape, UPRIGHT))


def _slice(source: ScanSource) -> np.ndarray:
    """Return the grey values of a slice file as stored, `(H, W)`."""
    index, entry = entry_of(source)
    return read_image(name_of(source), index.read(entry.files[0]))


def read_prediction(row: ScanRow, output_uri: str, layout: Layout) -> Volume:
    """Return the published mask, uint8 of 0 and 1, `(column, row, slice)`, on its grid; without a position, upright.

    Raises:
        DataError: `unknown_scan` without a mask, `changed` if it is not that of the table.
        StorageError: If it is gone or the store does not answer.
    """
    if row.mask_uri is None:
        raise DataError("unknown_scan", "The output has no mask of the scan.")
    uri = storage.join(output_uri, segmentations.MASKS_FOLDER, row.mask_uri.rpartition("/")[2])
    content = storage.read_bytes(uri)
    if hashlib.sha256(content).hexdigest() != row.mask_sha256:
        raise DataError("changed", "The mask is not the one that the table names. Segment the scan again.")
    if layout == "slice":
        stored = read_labels(uri, content)[None].T
        return Volume((stored > 0).astype(np.uint8), Grid(stored.shape, UPRIGHT))
    volume = read_volume(uri, content)
    grid = Grid(volume.voxels.shape, UPRIGHT) if layout == "stack" else volume.grid
    return Volume((volume.voxels > 0).astype(np.uint8), grid)
