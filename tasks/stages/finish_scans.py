"""Probabilities back to each scan's own grid: mask, preview and row, published before the scan is recorded."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from tasks.core.errors import DataError, as_refusal
from tasks.core.geometry import resize_slice_to, restore_probability
from tasks.core.panels import PALETTE, overlay, side_by_side
from tasks.core.postprocess import drop_small_lesions, drop_small_lesions_3d, threshold_probability
from tasks.core.rows import ScanRow
from tasks.core.volumes import MIN_AIR_HU, check_range, check_shapes
from tasks.io import storage
from tasks.io.formats import layout_of
from tasks.io.formats.raster import write_png
from tasks.io.outputs import segmentations
from tasks.io.scans import ScanSource
from tasks.stages.chunk import Predicted
from tasks.stages.encode_masks import encode_masks
from tasks.stages.load_scans import LoadedScan
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
    encoded = encode_masks(mask, scan, run)
    n_voxels, voxel_mm3 = int(np.count_nonzero(mask)), scan.grid.voxel_mm3 if scan.grid else None
    preview = write_png(_preview(answer, mask), PALETTE)
    preview_uri = segmentations.preview_uri(run.request.output_uri, scan.source.scan_id)
    row = run.row(
        scan.source,
        "done",
        warnings=[*scan.warnings, *encoded.warnings],
        flags=_flags(scan, n_lesions),
        n_slices=len(mask),
        lesion_voxels=n_voxels,
        lesion_ml=None if voxel_mm3 is None else n_voxels * voxel_mm3 / 1000,
        n_lesions=n_lesions,
        mask_sha256=hashlib.sha256(encoded.files[encoded.mask_uri]).hexdigest(),
        mask_uri=encoded.mask_uri,
        seconds=round(answer.seconds + time.perf_counter() - started, 4),
        where=encoded.where,
    )
    return _Outcome(row, {preview_uri: preview} | encoded.files)


def _flags(scan: LoadedScan, n_lesions: int) -> list[str]:
    is_implausible = scan.is_hu and scan.value_range and scan.value_range[0] >= MIN_AIR_HU
    return ["hu_implausible"] * bool(is_implausible) + ["no_lesion"] * (not n_lesions)


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
