"""Corrections taken in: files that readers put back, each checked against its scan, or refused with a sentence."""

import hashlib
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from tasks.core.errors import DataError, StorageError, as_refusal
from tasks.core.intensity import binarise_mask, mask_values, slice_to_uint8
from tasks.core.metrics import count_pixels, dice
from tasks.core.rows import CorrectionRow, ScanRow
from tasks.core.volumes import check_one_grid
from tasks.io import storage
from tasks.io.formats import is_slice, is_volume, kind_of, read_labels, read_volume, shown_suffix, without_suffix
from tasks.io.formats.dicom import is_dicom, read_header
from tasks.io.formats.dicom_seg import read_segmentation, referenced_series
from tasks.io.formats.raster import write_mask_png, write_png
from tasks.io.outputs import reviews
from tasks.io.pseudonyms import Seal
from tasks.io.scan_index import MAX_FILE_BYTES
from tasks.io.scan_sources import ScanSource
from tasks.io.scans import entry_of
from tasks.io.stored_objects import StoredObject
from tasks.stages.review_scans import ReviewScan, compact, open_scan

LINK: Final = "A link out of the folder of the corrections is not followed; put the file itself there."
ONE_SEGMENT: Final = "Export the lesions alone, as one segment of a binary label map, and put it back."
SEG_MARK: Final = ".seg"
"""End of the names that 3D Slicer gives to segmentations, before the suffix."""


@dataclass(frozen=True, slots=True)
class Segmented:
    """Segmentation whose corrections are taken in.

    Attributes:
        output_uri: URI of the segmentation.
        rows: Rows of its scans with a mask, by id.
        sources: Scans as listed, by id; those that are gone are missing.
        seal: Key, if ids are hashed.
        now: Time of the review.
    """

    output_uri: str
    rows: Mapping[str, ScanRow]
    sources: Mapping[str, ScanSource]
    seal: Seal | None
    now: datetime


def scan_id_of(file: StoredObject, known: Container[str]) -> str:
    """Return the id of the scan that a file is named after, which need not be one of the known."""
    stem = without_suffix(file.path)
    bare = stem.removesuffix(SEG_MARK)
    return bare if bare in known and stem not in known else stem


def take_correction(file: StoredObject, content: bytes, of: Segmented, *, n_rivals: int = 0) -> CorrectionRow:
    """Check a correction, write image and label of an accepted one, and return its row.

    Args:
        file: File that was put in.
        content: Its content.
        of: Segmentation that it is of.
        n_rivals: Number of other files for the same scan.
    """
    scan_id, sha256 = scan_id_of(file, of.rows), hashlib.sha256(content).hexdigest()
    row = of.rows.get(scan_id)
    try:
        if row is None:
            raise DataError(
                "unknown_scan", "The output has no mask of a scan with this name. Name it <scan_id>.nii.gz."
            )
        if n_rivals:
            raise DataError("duplicate_slice", f"{n_rivals + 1} files are corrections of this scan; keep one.")
        source = of.sources.get(scan_id)
        if source is None:
            raise DataError("vanished", "The scan is not below the scans' address any more, or changed its name.")
        scan = open_scan(source, row, of.output_uri)
        label = _label(file, content, scan)
        return _accepted(scan, label, of, sha256)
    except Exception as err:  # noqa: BLE001 - the boundary of one file
        gone = isinstance(err, StorageError) and not err.can_pass
        refusal = err.as_refusal() if isinstance(err, StorageError) and gone else as_refusal(err)
        return CorrectionRow(
            scan_id=f"sha256-{sha256[:16]}" if row is None and of.seal else scan_id,
            status="refused",
            error_code=refusal.code,
            error=refusal.sentence,
            sha256=sha256,
            taken_at=of.now,
            where=refusal.where,
        )


def _accepted(scan: ReviewScan, label: np.ndarray, of: Segmented, sha256: str) -> CorrectionRow:
    """Write image and label of a correction, and return its row."""
    row = scan.row
    uris = reviews.label_uris(of.output_uri, row.scan_id, scan.layout, label.shape[2])
    if scan.has_position:
        contents = [(scan.to_nifti(compact(scan.volume.voxels)), scan.to_nifti(label))]
    else:
        images = (slice_to_uint8(image) for image in scan.volume.voxels.T)
        contents = [(write_png(image), write_mask_png(mask)) for image, mask in zip(images, label.T, strict=True)]
    # masks first: a preparation that reads meanwhile refuses a mask with another digest than the table's, and so never
    # takes a new image with an old mask
    for (_, mask_uri), (_, mask) in zip(uris, contents, strict=True):
        storage.publish(mask_uri, mask)
    for (image_uri, _), (image, _) in zip(uris, contents, strict=True):
        storage.publish(image_uri, image)
    found = scan.slice_uris
    return CorrectionRow(
        scan_id=row.scan_id,
        status="accepted",
        sha256=sha256,
        n_voxels_before=int(np.count_nonzero(scan.prediction)),
        n_voxels_after=int(np.count_nonzero(label)),
        dice_with_prediction=dice(count_pixels(scan.prediction, label)),
        prediction_sha256=row.mask_sha256,
        layout=scan.layout,
        source_uris=[of.seal.close_text(of.seal.open_text(uri)) for uri in found] if of.seal else found,
        source_fingerprint=row.source_fingerprint,
        label_sha256=reviews.label_digest(mask for _, mask in contents),
        taken_at=of.now,
    )


def _label(file: StoredObject, content: bytes, scan: ReviewScan) -> np.ndarray:
    """Return the label in a file, uint8 of 0 and 1 of the shape of the scan's volume."""
    if file.is_elsewhere:
        raise DataError("unsafe_member", LINK)
    if "/" in file.path:
        raise DataError("unsupported_format", "It lies in a folder; put one file per scan into review/corrections.")
    if file.size_bytes > MAX_FILE_BYTES:
        raise DataError("too_large", f"The file has {file.size_bytes >> 20} MiB; {MAX_FILE_BYTES >> 20} are read.")
    if is_slice(file.path):
        return _of_slice(file.path, content, scan)
    if kind_of(file.path) == "dicom":
        return _of_dicom(content, scan)
    if not is_volume(file.path):
        raise DataError(
            "unsupported_format",
            f"Files of type {shown_suffix(file.path)} are no masks that are read. Save it as NIfTI, NRRD or MetaImage.",
        )
    labels = read_volume(file.path, content)
    check_one_grid(scan.volume.grid, labels.grid)
    read = labels.grid.to_reading(_binary(labels.voxels))
    return np.ascontiguousarray(scan.volume.grid.from_reading(read))


def _of_slice(path: str, content: bytes, scan: ReviewScan) -> np.ndarray:
    if scan.layout != "slice":
        raise DataError("unsupported_format", "The scan is a volume; a slice was found. Save the mask as NIfTI.")
    label = read_labels(path, content)
    width, height, _ = scan.volume.voxels.shape
    if label.shape != (height, width):
        raise DataError(
            "shape_mismatch",
            f"Image is {width}×{height} px, its mask {label.shape[1]}×{label.shape[0]}; they must be the same.",
        )
    return np.ascontiguousarray(_binary(label)[None].T)


def _binary(values: np.ndarray) -> np.ndarray:
    """Return a mask of 0 and 1 from stored values.

    Raises:
        DataError: `mask_values`, with what a reader can do: a review has no parameter for other values.
    """
    try:
        return binarise_mask(values, "binary")
    except DataError as err:
        raise DataError(err.code, f"{mask_values(values)} {ONE_SEGMENT}") from err


def _of_dicom(content: bytes, scan: ReviewScan) -> np.ndarray:
    if not scan.has_position:
        raise DataError("unsupported_format", "The scan has no position in space. Save the mask as NIfTI or PNG.")
    if not is_dicom(content):
        raise DataError("wrong_suffix", "The content is not DICOM, as its name says. Save it as NIfTI, or name it so.")
    if scan.layout == "series":
        index, entry = entry_of(scan.source)
        series = read_header(index.read_head(entry.files[0])).series_uid
        referenced = referenced_series(content)
        if referenced and series not in referenced:
            raise DataError("other_scan", "The DICOM-SEG refers to another series than the scan's. Is it another's?")
    return _binary(read_segmentation(content, scan.volume.grid))
