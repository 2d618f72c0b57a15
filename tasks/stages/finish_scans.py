"""Probabilities back to each scan's own grid: mask, preview and row, published before the scan is recorded."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from tasks.core.errors import DataError, StorageError, as_refusal
from tasks.core.geometry import resize_slice_to, restore_probability
from tasks.core.panels import PALETTE, overlay, side_by_side
from tasks.core.postprocess import drop_small_lesions, drop_small_lesions_3d, threshold_probability
from tasks.core.rows import ScanRow
from tasks.core.volumes import MIN_AIR_HU, Grid, check_range, check_shapes
from tasks.io import storage
from tasks.io.formats.dicom_seg import write_segmentation
from tasks.io.formats.nifti import write_nifti_mask
from tasks.io.formats.raster import write_mask_png, write_png
from tasks.io.outputs import segmentations
from tasks.io.scans import ScanSource
from tasks.stages.chunk import Predicted
from tasks.stages.load_scans import LoadedScan, entry_of
from tasks.stages.segmentation_run import Run

N_PREVIEW_SLICES = 3


@dataclass(frozen=True, slots=True)
class _Answered:
    """A whole scan, and the model's answer.

    Attributes:
        scan: As loaded; of a scan of several pieces the first.
        images: Its slices as the model saw them, uint8 `(N, size_px, size_px)`.
        probability: The same shape, in units of 1/255.
        seconds: Spent on it so far.
    """

    scan: LoadedScan
    images: np.ndarray
    probability: np.ndarray
    seconds: float


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a scan, before it is written: the row, and the files by URI, masks last."""

    row: ScanRow
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        return sum(map(len, self.files.values()))


def finish_scans(chunks: Sequence[Predicted], *, run: Run) -> tuple[list[ScanRow], int]:
    """Bring probabilities back to each scan's grid, write masks and previews, then record the scans.

    Args:
        chunks: One chunk of whole scans, or all pieces of one scan in order; the rest is `LoadedScan`s.
        run: What decides the masks.

    Returns:
        A row a scan, and the bytes written.
    """
    # drawn one by one, because threads would only fight over the interpreter; written several at a time
    if len(chunks) > 1:
        drawn = [_draw_or_refuse(chunks[0].rest[0].source, lambda: _draw(_join(chunks), run), run)]
    else:
        drawn = [_draw_or_refuse(answer.scan.source, partial(_draw, answer, run), run) for answer in _apart(chunks[0])]
    rows = storage.map_in_parallel(partial(_publish, run=run), drawn)
    return rows, sum(outcome.n_bytes for outcome in drawn)


def _apart(chunk: Predicted) -> Iterator[_Answered]:
    """Yield the scans of a chunk with their slices."""
    first = 0
    for scan in chunk.rest:
        last = first + scan.n_slices
        yield _Answered(scan, chunk.images[first:last], chunk.probability[first:last], scan.seconds)
        first = last


def _join(chunks: Sequence[Predicted]) -> _Answered:
    """Return the scan whose pieces these are."""
    pieces: list[LoadedScan] = [piece for chunk in chunks for piece in chunk.rest]
    scan = next((piece for piece in pieces if piece.refused), pieces[0])
    ranges = [piece.value_range for piece in pieces if piece.value_range]
    if ranges:
        scan = replace(scan, value_range=(min(low for low, _ in ranges), max(high for _, high in ranges)))
    try:
        check_shapes(piece.shape for piece in pieces if piece.refused is None)
    except DataError as err:
        scan = replace(scan, refused=scan.refused or err)
    return _Answered(
        scan,
        np.concatenate([chunk.images for chunk in chunks]),
        np.concatenate([chunk.probability for chunk in chunks]),
        sum(piece.seconds for piece in pieces),
    )


def _draw_or_refuse(source: ScanSource, draw: Callable[[], _Outcome], run: Run) -> _Outcome:
    """Return what becomes of a scan, whatever it brings about: the others go on."""
    try:
        return draw()
    except Exception as err:  # noqa: BLE001 - the boundary of one scan
        return _Outcome(run.refusal(source, as_refusal(err)))


def _draw(answer: _Answered, run: Run) -> _Outcome:
    scan = answer.scan
    if scan.refused:
        raise scan.refused
    if scan.value_range:
        check_range(*scan.value_range)
    started = time.perf_counter()
    mask, n_lesions = _mask(answer, run)
    voxel_mm3 = scan.grid.voxel_mm3 if scan.grid else None
    is_slice = scan.source.kind == "raster"
    output_uri, scan_id = run.request.output_uri, scan.source.scan_id
    mask_uri = segmentations.mask_uri(output_uri, scan_id, "png" if is_slice else "nii.gz")
    preview_uri = segmentations.preview_uri(output_uri, scan_id)
    preview = write_png(_preview(answer, mask), PALETTE)
    content = write_mask_png(mask[0]) if is_slice else _stored(mask, scan)
    n_voxels, warnings, flags = int(np.count_nonzero(mask)), list(scan.warnings), []
    if scan.is_hu and scan.value_range and scan.value_range[0] >= MIN_AIR_HU:
        flags.append("hu_implausible")
    if not n_lesions:
        flags.append("no_lesion")
    files, where = {preview_uri: preview}, None
    if run.request.segmentation.dicom_seg and scan.source.kind == "dicom":
        try:
            seg = _dicom_seg(scan, mask, run)
        except Exception as err:  # noqa: BLE001 - the boundary of one scan; its mask is there all the same
            refusal = err.as_refusal() if isinstance(err, StorageError) else as_refusal(err)
            warnings.append(f"No DICOM-SEG was made: {refusal.sentence}")
            where = refusal.where
        else:
            files[segmentations.mask_uri(output_uri, scan_id, "dcm")] = seg
    row = run.row(
        scan.source,
        "done",
        warnings=warnings,
        flags=flags,
        n_slices=len(mask),
        lesion_voxels=n_voxels,
        lesion_ml=None if voxel_mm3 is None else n_voxels * voxel_mm3 / 1000,
        n_lesions=n_lesions,
        mask_sha256=hashlib.sha256(content).hexdigest(),
        mask_uri=mask_uri,
        seconds=round(answer.seconds + time.perf_counter() - started, 4),
        where=where,
    )
    return _Outcome(row, files | {mask_uri: content})


def _dicom_seg(scan: LoadedScan, mask: np.ndarray, run: Run) -> bytes:
    """Return a series' mask as DICOM-SEG; its headers are read again, because only this needs them whole."""
    if scan.grid is None:
        raise ValueError("A DICOM series has a grid.")
    index, entry = entry_of(scan.source)
    stored = scan.grid.from_reading(mask)
    files = [entry.files[place] for place in entry.places]
    if len(entry.files) == 1:  # its frames in the file's own order
        stored, files = stored[np.argsort(entry.frames)], [*entry.files]
    heads = storage.map_in_parallel(index.read_head, files)
    return write_segmentation(
        heads,
        stored,
        spacing_mm=scan.grid.spacing_mm[0],
        model_digest=run.model_digest,
        code_version=run.code_version,
    )


def _mask(answer: _Answered, run: Run) -> tuple[np.ndarray, int]:
    """Return the mask as a reader sees the scan, uint8 `(N, H, W)`, and the number of its lesions."""
    shape, grid = answer.scan.shape, answer.scan.grid
    mask = np.empty((len(answer.probability), *shape), np.uint8)
    min_px = 0 if grid and run.min_lesion_mm3 is not None else run.min_lesion_px
    n_lesions = 0
    for number, probability in enumerate(answer.probability):
        above = threshold_probability(restore_probability(probability, shape), run.threshold)
        mask[number], n_lesions = drop_small_lesions(above, min_px)
    if answer.scan.source.kind == "raster":
        return mask, n_lesions
    min_voxels = 0.0 if grid is None or run.min_lesion_mm3 is None else run.min_lesion_mm3 / grid.voxel_mm3
    return drop_small_lesions_3d(mask, min_voxels)


def _stored(mask: np.ndarray, scan: LoadedScan) -> bytes:
    """Return a mask on the scan's own grid, as NIfTI, which counts columns first; without a grid, in voxels."""
    if scan.grid is None:
        return write_nifti_mask(mask.T, Grid(mask.T.shape, np.eye(4)))
    stored = scan.grid.from_reading(mask)
    if scan.source.kind == "nifti":
        return write_nifti_mask(stored, scan.grid)
    return write_nifti_mask(stored.T, scan.grid.transposed())


def _preview(answer: _Answered, mask: np.ndarray) -> np.ndarray:
    """Return the slice with the largest lesion area between its surroundings, as indices into the palette."""
    if answer.scan.image is not None:
        return overlay(answer.scan.image, prediction=mask[0])
    areas = mask.sum(axis=(1, 2), dtype=np.int64)
    largest = int(areas.argmax()) if areas.any() else len(mask) // 2
    with_lesion = np.flatnonzero(areas) if areas.any() else np.arange(len(mask))
    shown = sorted({largest, *(int(np.quantile(with_lesion, share)) for share in (0.25, 0.75))})
    slices = {number: resize_slice_to(answer.images[number], answer.scan.shape) for number in shown}
    return side_by_side([overlay(image, prediction=mask[number]) for number, image in slices.items()])


def _publish(outcome: _Outcome, *, run: Run) -> ScanRow:
    for uri, content in outcome.files.items():
        storage.publish(uri, content)
    return run.record(outcome.row)
