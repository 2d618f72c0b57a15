"""Packages of scans to correct: image and mask on one grid, for any viewer, and how to give the correction back."""

from typing import Final

from tasks.core.digests import digest
from tasks.core.errors import DataError, StorageError, as_refusal
from tasks.core.rows import PackageRow, ScanRow
from tasks.io import storage
from tasks.io.formats.dicom_seg import SegmentationType, write_scan_mask
from tasks.io.formats.raster import write_mask_png
from tasks.io.outputs import reviews
from tasks.io.scan_sources import ScanSource
from tasks.stages.review_scans import ReviewScan, compact, open_scan

README: Final = """\
{image} and {mask} lie on one grid: open both in 3D Slicer, ITK-SNAP or OHIF{dicom}.
Correct the mask: 1 is lesion, 0 is everything else; do not crop, move or resample it.
Save it as {name}, and put it into the folder review/corrections of this output.
Then run `lesions review` on the output again; it says which corrections were taken in, and why others were not.
Refused ones are listed with the reason in review/corrections.parquet.
"""


def package_digest(row: ScanRow, kind: SegmentationType) -> str:
    """Return the digest of what a package is made of: a package of the same digest need not be made again."""
    return digest(scan=row.source_fingerprint, mask=row.mask_sha256, dicom_seg=kind)


def make_package(source: ScanSource | None, row: ScanRow, output_uri: str, kind: SegmentationType) -> PackageRow:
    """Write the package of a scan, and return its row; an error is a refusal, and the others continue.

    Args:
        source: Scan as listed; None if it is not there any more.
        row: Its row in the table of scans.
        output_uri: URI of the segmentation.
        kind: Type of the DICOM-SEG.
    """
    made_of = package_digest(row, kind)
    try:
        if source is None:
            raise DataError("vanished", "The scan is not below the scans' address any more, or changed its name.")
        scan = open_scan(source, row, output_uri)
        files, warnings = _files(scan, kind)
    except Exception as err:  # noqa: BLE001 - the boundary of one scan
        refusal = _refusal(err)
        return PackageRow(
            scan_id=row.scan_id,
            status="refused",
            error_code=refusal.code,
            error=refusal.sentence,
            digest=made_of,
            where=refusal.where,
        )
    for name, content in files.items():
        storage.publish(reviews.package_uri(output_uri, row.scan_id, name), content)
    return PackageRow(scan_id=row.scan_id, status="accepted", warnings=warnings, digest=made_of)


def _files(scan: ReviewScan, kind: SegmentationType) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of a package by name, and sentences about those that could not be made."""
    files = {
        reviews.IMAGE_FILE: scan.to_nifti(compact(scan.volume.voxels)),
        reviews.MASK_FILE: scan.to_nifti(scan.prediction),
    }
    warnings, suffixes = [], "nii.gz"
    if scan.layout == "slice":
        files[reviews.PNG_MASK_FILE] = write_mask_png(scan.prediction[:, :, 0].T)
        suffixes = "nii.gz or .png"
    if scan.layout == "series":
        try:
            mask = scan.scan_mask()
            files[reviews.DICOM_SEG_FILE] = write_scan_mask(mask, kind)
            warnings += mask.warnings
        except DataError as err:
            warnings.append(f"Not made: DICOM-SEG: {err.sentence}")
        suffixes = "nii.gz or .dcm"
    has_seg = reviews.DICOM_SEG_FILE in files
    files[reviews.README_FILE] = README.format(
        image=reviews.IMAGE_FILE,
        mask=reviews.MASK_FILE,
        dicom=f" (or the series with {reviews.DICOM_SEG_FILE})" if has_seg else "",
        name=f"{scan.row.scan_id}.{suffixes}",
    ).encode()
    return files, warnings


def _refusal(err: Exception) -> DataError:
    if isinstance(err, StorageError) and not err.can_pass:
        return err.as_refusal()
    return as_refusal(err)
