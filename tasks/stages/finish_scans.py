"""Stage finish: probabilities to masks and previews on the source grid, published before the scan is recorded."""

import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from tasks.core.errors import DataError, as_refusal
from tasks.core.flags import flags_of
from tasks.core.geometry import restore_probability
from tasks.core.postprocess import drop_small_lesions, drop_small_lesions_3d, threshold_probability
from tasks.core.quality import Quality, quality_features
from tasks.core.rows import ScanRow
from tasks.core.smoothing import smooth_along_z
from tasks.core.volumes import check_range, check_shapes
from tasks.io import storage
from tasks.io.formats import layout_of
from tasks.io.outputs import segmentations
from tasks.stages.chunk import Predicted
from tasks.stages.encode_masks import encode_masks
from tasks.stages.load_scans import LoadedScan, held_slices
from tasks.stages.lung_measures import measure_lung
from tasks.stages.previews import draw_preview
from tasks.stages.scan_facts import facts_of
from tasks.stages.segmentation_run import Run

Outcome = tuple[ScanRow, dict[str, bytes]]
"""Outcome of a scan before it is written: the row, and the files by URI, the mask last."""


def finish_scans(chunks: Sequence[Predicted], *, run: Run) -> tuple[list[ScanRow], int]:
    """Resize probabilities to each source grid, publish masks and previews, then record the scans.

    Args:
        chunks: One chunk of whole scans, or all pieces of one scan in order; the rest is `LoadedScan`s.
        run: Segmentation run.

    Returns:
        One row per scan, and the number of bytes written.
    """
    # drawn one by one, because threads would compete for the interpreter; written in parallel
    scans = [_join(chunks)] if len(chunks) > 1 else _apart(chunks[0])
    drawn = [_draw_or_refuse(scan, run) for scan in scans]
    rows = storage.map_in_parallel(partial(_publish, run=run), drawn)
    return rows, sum(len(content) for _, files in drawn for content in files.values())


def _apart(chunk: Predicted) -> Iterator[Predicted]:
    """Yield the scans of a chunk with their slices; the rest of each is its `LoadedScan`."""
    first = 0
    for scan in chunk.rest:
        last = first + scan.n_slices
        lung = None if chunk.lung is None else chunk.lung[first:last]
        yield Predicted(chunk.images[first:last], scan, chunk.probability[first:last], lung)
        first = last


def _join(chunks: Sequence[Predicted]) -> Predicted:
    """Return a scan joined from its pieces; the rest is its `LoadedScan`."""
    pieces: list[LoadedScan] = [piece for chunk in chunks for piece in chunk.rest]
    scan = next((piece for piece in pieces if piece.refused), pieces[0])
    ranges = [piece.value_range for piece in pieces if piece.value_range]
    if ranges:
        scan = replace(scan, value_range=(min(low for low, _ in ranges), max(high for _, high in ranges)))
    counts = [piece.lung_like for piece in pieces if piece.lung_like]
    if counts:
        scan = replace(scan, lung_like=(sum(n for n, _ in counts), sum(n for _, n in counts)))
    looks = [piece.appearance for piece in pieces if piece.appearance is not None and piece.appearance.size]
    if looks:
        scan = replace(scan, appearance=np.concatenate(looks))
    try:
        check_shapes(piece.shape for piece in pieces if piece.refused is None)
    except DataError as err:
        scan = replace(scan, refused=scan.refused or err)
    lungs = [chunk.lung for chunk in chunks if chunk.lung is not None]
    return Predicted(
        np.concatenate([chunk.images for chunk in chunks]),
        replace(scan, seconds=sum(piece.seconds for piece in pieces)),
        np.concatenate([chunk.probability for chunk in chunks]),
        np.concatenate(lungs) if lungs else None,
    )


def _draw_or_refuse(predicted: Predicted, run: Run) -> Outcome:
    """Return the outcome of a scan; an error rejects it, and the others continue."""
    scan: LoadedScan = predicted.rest
    if scan.refused:
        return run.refusal(scan.source, scan.refused), {}
    try:
        return _draw(predicted, run)
    except Exception as err:  # noqa: BLE001 - the boundary of one scan
        return run.refusal(scan.source, as_refusal(err)), {}


def _draw(predicted: Predicted, run: Run) -> Outcome:
    scan: LoadedScan = predicted.rest
    if scan.value_range:
        check_range(*scan.value_range)
    started = time.perf_counter()
    probabilities = _smoothed(predicted, run)
    mask, n_lesions = _mask(scan, probabilities, run)
    lung = measure_lung(predicted, mask, held_slices(scan, len(mask)))
    encoded = encode_masks(mask, scan, run)
    n_voxels, voxel_mm3 = int(np.count_nonzero(mask)), scan.grid.voxel_mm3 if scan.grid and scan.has_volume else None
    preview = draw_preview(predicted, mask)
    drift = None if run.drift is None or scan.appearance is None else run.drift.scan(scan.appearance)
    quality = _quality(predicted, probabilities, run, is_empty=not n_lesions)
    facts = facts_of(scan, mask, n_lesions, lung=lung, drift=drift, quality=quality, peak=_peak(scan, probabilities))
    preview_uri = segmentations.preview_uri(run.request.output_uri, scan.source.scan_id)
    row = run.row(
        scan.source,
        "done",
        warnings=[*scan.warnings, *encoded.warnings],
        flags=flags_of(facts, run.flag_limits),
        n_slices=int(held_slices(scan, len(mask)).sum()),
        height_px=scan.shape[0],
        width_px=scan.shape[1],
        spacing_mm=[round(step, 4) for step in scan.grid.as_read().spacing_mm] if scan.grid else None,
        is_oriented=scan.is_oriented,
        lesion_profile=np.count_nonzero(mask, axis=(1, 2)).tolist(),
        lesion_voxels=n_voxels,
        lesion_ml=None if voxel_mm3 is None else n_voxels * voxel_mm3 / 1000,
        n_lesions=n_lesions,
        lung_ml=lung.volume_ml(voxel_mm3),
        lung_involvement=lung.involvement,
        quality=None if quality is None else round(quality.expected, 3),
        quality_low=None if quality is None else round(quality.low, 3),
        quality_high=None if quality is None else round(quality.high, 3),
        drift_score=None if drift is None else round(drift, 3),
        mask_sha256=hashlib.sha256(encoded.files[encoded.mask_uri]).hexdigest(),
        mask_uri=encoded.mask_uri,
        seconds=round(scan.seconds + time.perf_counter() - started, 4),
        where=encoded.where,
    )
    return row, {preview_uri: preview} | encoded.files


def _smoothed(predicted: Predicted, run: Run) -> np.ndarray:
    """Return the lesion probabilities, smoothed along z where the bundle does so, uint8 `(N, size_px, size_px)`."""
    scan: LoadedScan = predicted.rest
    probabilities = predicted.probability
    if not run.z_smoothing or layout_of(scan.source.kind) == "slice":
        return probabilities
    held = held_slices(scan, len(probabilities))
    if held.all():
        return smooth_along_z(probabilities, scan.source.positions or None)
    # the slice that stands for a missing one is no neighbour
    probabilities = probabilities.copy()
    probabilities[held] = smooth_along_z(probabilities[held], tuple(np.flatnonzero(held).tolist()))
    return probabilities


def _mask(scan: LoadedScan, probabilities: np.ndarray, run: Run) -> tuple[np.ndarray, int]:
    """Return the mask in reading orientation, uint8 `(N, H, W)`, and the number of lesions."""
    shape, grid = scan.shape, scan.grid
    mask = np.empty((len(probabilities), *shape), np.uint8)
    is_measured = grid is not None and (scan.has_volume or bool(scan.missing))  # a single slice has no depth
    min_px = 0.0 if is_measured and run.min_lesion_mm3 is not None else run.min_lesion_area(shape)
    n_lesions = 0
    for number, probability in enumerate(probabilities):
        above = threshold_probability(restore_probability(probability, shape), run.threshold)
        mask[number], n_lesions = drop_small_lesions(above, min_px)
    if layout_of(scan.source.kind) == "slice":
        return mask, n_lesions
    if grid and scan.missing:
        grid.from_reading(mask)[list(scan.missing)] = 0  # a view; the slice before stood for each
    min_voxels = 0.0
    if is_measured and grid and run.min_lesion_mm3 is not None:
        min_voxels = run.min_lesion_mm3 / grid.voxel_mm3
    return drop_small_lesions_3d(mask, min_voxels)


def _quality(predicted: Predicted, probabilities: np.ndarray, run: Run, *, is_empty: bool) -> Quality | None:
    """Return the expected quality of a scan's mask; None if the bundle has no calibration."""
    if run.quality is None or is_empty:
        return None if run.quality is None else Quality.of_empty()
    lungs = [None] * len(probabilities) if predicted.lung is None else predicted.lung
    held = held_slices(predicted.rest, len(probabilities))
    slices = zip(probabilities, predicted.images, lungs, strict=True)
    found = (quality_features(*each, threshold=run.threshold) for each in itertools.compress(slices, held))
    return run.quality.scan([features for features in found if features is not None])


def _peak(scan: LoadedScan, probabilities: np.ndarray) -> float:
    """Return the largest probability of a scan, without slices that stand for missing ones."""
    held = held_slices(scan, len(probabilities))
    return float(probabilities[held].max(initial=0)) / 255


def _publish(outcome: Outcome, *, run: Run) -> ScanRow:
    row, files = outcome
    for uri, content in files.items():
        storage.publish(uri, content)
    return run.record(row)
