"""Viewer of the scans of a review: packaged ones, made from their packages, then corrected ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from tasks.core.config.intensity import HuConfig
from tasks.core.errors import DataError, StorageError
from tasks.core.intensity import hu_to_uint8, slice_to_uint8
from tasks.core.numbers import score
from tasks.core.pages.viewer import CORRECTED, MAX_SCANS, PREDICTED, SIZE_PX, ViewerScan, stored_window, viewer_page
from tasks.core.rows import CorrectionRow, ScanRow
from tasks.core.schemas import SegmentationManifest
from tasks.core.verdicts import browser_store
from tasks.core.volumes import Volume
from tasks.io import storage
from tasks.io.formats import read_labels
from tasks.io.formats.nifti import read_nifti
from tasks.io.outputs import reviews
from tasks.stages.review_scans import UPRIGHT, read_prediction
from tasks.stages.viewer_volumes import viewer_scan

IN_SPACE: Final = ("volume", "series")
"""Layouts of scans whose corrections are one volume."""


def draw_viewer(
    rows: Sequence[ScanRow],
    output_uri: str,
    manifest: SegmentationManifest,
    *,
    corrections: Mapping[str, CorrectionRow],
    masks: Mapping[str, str],
) -> str:
    """Return the page of the first scans; one whose files a reader has changed is left out.

    Args:
        rows: Scans with a package, most urgent first.
        output_uri: URI of the segmentation.
        manifest: Its manifest.
        corrections: Corrections that were taken in, by scan id.
        masks: Digest of the mask of each scan of the segmentation, by id.
    """
    return viewer_page(
        list(_scans(rows, output_uri, stored_window(manifest.hu), corrections)),
        n_scans=len(rows),
        model_hu=manifest.hu,
        store=browser_store(scans_uri=manifest.scans_uri, model_digest=manifest.model_digest),
        masks=masks,
    )


def _scans(
    rows: Sequence[ScanRow], output_uri: str, stored: HuConfig, corrections: Mapping[str, CorrectionRow]
) -> Iterator[ViewerScan]:
    for row in rows[:MAX_SCANS]:
        try:
            yield _scan(row, output_uri, stored, corrections.get(row.scan_id))
        except DataError:  # readers work on these files
            continue
        except StorageError as err:
            if err.can_pass:
                raise


def _scan(row: ScanRow, output_uri: str, stored: HuConfig, correction: CorrectionRow | None) -> ViewerScan:
    image = _packaged(row, output_uri, reviews.IMAGE_FILE)
    mask = _predicted(row, output_uri, correction) * np.uint8(PREDICTED)
    has_position = row.spacing_mm is not None or not np.array_equal(image.grid.affine, UPRIGHT)
    is_hu = image.unit == "hu" and has_position  # slice files have grey levels, also those of 16 bits
    slices = [hu_to_uint8(slice_, stored) if is_hu else slice_to_uint8(slice_) for slice_ in image.slices()]
    if correction:
        corrected = _corrected(row, output_uri, correction, len(slices))
        if corrected.shape != mask.shape:
            raise DataError("shape_mismatch", f"Mask is {mask.shape}, its correction {corrected.shape}.")
        mask = mask | corrected * np.uint8(CORRECTED)
    scan = viewer_scan(row, np.stack(slices), mask, image.grid.affine, SIZE_PX, stored=stored if is_hu else None)
    scan = replace(scan, has_sides=bool(row.is_oriented))
    if correction is None:
        return scan
    agreement = correction.dice_with_prediction
    facts = "corrected" if agreement is None else f"corrected, Dice with the prediction {score(agreement)}"
    return replace(scan, is_corrected=True, caption=f"{facts} · {scan.caption}")


def _packaged(row: ScanRow, output_uri: str, name: str) -> Volume:
    return read_nifti(storage.read_bytes(reviews.package_uri(output_uri, row.scan_id, name)))


def _predicted(row: ScanRow, output_uri: str, correction: CorrectionRow | None) -> np.ndarray:
    """Return the predicted lesions in reading orientation, uint8 of 0 and 1."""
    try:
        mask = _packaged(row, output_uri, reviews.MASK_FILE)
    except StorageError as err:
        if err.can_pass or correction is None or correction.layout is None:
            raise
        mask = read_prediction(row, output_uri, correction.layout)  # a reader corrected the package's and moved it
    return _lesions(mask.grid.to_reading(mask.voxels))


def _corrected(row: ScanRow, output_uri: str, correction: CorrectionRow, n_slices: int) -> np.ndarray:
    """Return the corrected lesions in reading orientation, uint8 of 0 and 1."""
    layout = correction.layout or "volume"
    uris = [mask_uri for _, mask_uri in reviews.label_uris(output_uri, row.scan_id, layout, n_slices)]
    contents = [storage.read_bytes(uri) for uri in uris]
    if layout in IN_SPACE:
        label = read_nifti(contents[0])
        return _lesions(label.grid.to_reading(label.voxels))
    return _lesions(np.stack([read_labels(uri, content) for uri, content in zip(uris, contents, strict=True)]))


def _lesions(labels: np.ndarray) -> np.ndarray:
    """Return labels as uint8 of 0 and 1."""
    return np.ascontiguousarray(labels > 0).astype(np.uint8)
