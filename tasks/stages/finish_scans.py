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
from tasks.core.volumes import MIN_AIR_HU, check_range, check_shapes
from tasks.io import storage
from tasks.io.formats import axis_order_of, layout_of
from tasks.io.formats.mask_writer import DicomHeads, MaskWriter, ScanMask
from tasks.io.formats.raster import write_png
from tasks.io.formats.writers import writers_of
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
    written = _write(mask, scan, run)
    n_voxels, voxel_mm3 = int(np.count_nonzero(mask)), scan.grid.voxel_mm3 if scan.grid else None
    preview = write_png(_preview(answer, mask), PALETTE)
    preview_uri = segmentations.preview_uri(run.request.output_uri, scan.source.scan_id)
    row = run.row(
        scan.source,
        "done",
        warnings=[*scan.warnings, *written.warnings],
        flags=_flags(scan, n_lesions),
        n_slices=len(mask),
        lesion_voxels=n_voxels,
        lesion_ml=None if voxel_mm3 is None else n_voxels * voxel_mm3 / 1000,
        n_lesions=n_lesions,
        mask_sha256=hashlib.sha256(written.files[written.mask_uri]).hexdigest(),
        mask_uri=written.mask_uri,
        seconds=round(answer.seconds + time.perf_counter() - started, 4),
        where=written.where,
    )
    return _Outcome(row, {preview_uri: preview} | written.files)


def _flags(scan: LoadedScan, n_lesions: int) -> list[str]:
    is_implausible = scan.is_hu and scan.value_range and scan.value_range[0] >= MIN_AIR_HU
    return ["hu_implausible"] * bool(is_implausible) + ["no_lesion"] * (not n_lesions)


@dataclass(frozen=True, slots=True)
class _Written:
    """The mask of a scan in the formats that take it.

    Attributes:
        mask_uri: Of the mask that the row names.
        files: By URI, that mask last.
        warnings: Formats it could not be written in.
        where: Traceback of a bug in one of them.
    """

    mask_uri: str
    files: dict[str, bytes]
    warnings: list[str]
    where: str | None


def _write(voxels: np.ndarray, scan: LoadedScan, run: Run) -> _Written:
    """Write a mask in every format that takes the scan; a failure of the first is the scan's, of others a warning."""
    mask = _scan_mask(voxels, scan, run)
    first, *others = writers_of(run.request.segmentation, layout_of(scan.source.kind))
    files: dict[str, bytes] = {}
    warnings, where = [], None
    for writer in others:
        try:
            files[_uri(writer, scan, run)] = writer.write(mask)
        except Exception as err:  # noqa: BLE001 - the boundary of one scan; its mask is there all the same
            refusal = err.as_refusal() if isinstance(err, StorageError) else as_refusal(err)
            warnings.append(f"No {writer.shown} was made: {refusal.sentence}")
            where = where or refusal.where
    mask_uri = _uri(first, scan, run)
    return _Written(mask_uri, files | {mask_uri: first.write(mask)}, warnings, where)


def _uri(writer: MaskWriter, scan: LoadedScan, run: Run) -> str:
    return segmentations.mask_uri(run.request.output_uri, scan.source.scan_id, writer.suffix)


def _scan_mask(voxels: np.ndarray, scan: LoadedScan, run: Run) -> ScanMask:
    """Return what writers are handed; headers of the source are read again only if one asks for them."""
    return ScanMask(
        voxels,
        scan.grid,
        axis_order_of(scan.source.kind),
        read_heads=partial(_read_heads, scan.source),
        model_digest=run.model_digest,
        code_version=run.code_version,
    )


def _read_heads(source: ScanSource) -> DicomHeads:
    index, entry = entry_of(source)
    if len(entry.files) == 1:
        return DicomHeads([index.read_head(entry.files[0])], entry.frames)
    return DicomHeads(storage.map_in_parallel(index.read_head, [entry.files[place] for place in entry.places]))


def _mask(answer: _Answered, run: Run) -> tuple[np.ndarray, int]:
    """Return the mask as a reader sees the scan, uint8 `(N, H, W)`, and the number of its lesions."""
    shape, grid = answer.scan.shape, answer.scan.grid
    mask = np.empty((len(answer.probability), *shape), np.uint8)
    min_px = 0 if grid and run.min_lesion_mm3 is not None else run.min_lesion_px
    n_lesions = 0
    for number, probability in enumerate(answer.probability):
        above = threshold_probability(restore_probability(probability, shape), run.threshold)
        mask[number], n_lesions = drop_small_lesions(above, min_px)
    if layout_of(answer.scan.source.kind) == "slice":
        return mask, n_lesions
    min_voxels = 0.0 if grid is None or run.min_lesion_mm3 is None else run.min_lesion_mm3 / grid.voxel_mm3
    return drop_small_lesions_3d(mask, min_voxels)


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
