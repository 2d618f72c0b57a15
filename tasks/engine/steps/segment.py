"""Segment every scan below a URI that is new, exactly once: list, settle, stream, publish."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import get_args

import ray

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError
from tasks.core.handles import SegmentationHandle, SegmentationPlan
from tasks.core.reports import segmentation_report
from tasks.core.rows import ScanRow, ScanStatus
from tasks.core.schemas import SegmentationManifest, Speed
from tasks.core.step_inputs import SegmentRequest
from tasks.core.throughput import Progress, StageSums, Tell, cost_per_1000
from tasks.engine.inference.bundle_model import BATCH_SIZE, LoadModel, load_predictor
from tasks.engine.inference.chunks import PredictionSpec
from tasks.engine.inference.indexing import index_here, index_on_cluster
from tasks.engine.inference.stream import PredictionStream
from tasks.engine.steps.listing import list_scans, require_scans, youngest_settled_s
from tasks.io import lease, ledger, storage
from tasks.io.formats import layout_of
from tasks.io.outputs import bundles, segmentations
from tasks.io.outputs.ownership import claim
from tasks.io.scans import ScanSource
from tasks.io.versions import library_versions
from tasks.stages.finish_scans import finish_scans
from tasks.stages.load_scans import cut, load_scans
from tasks.stages.segmentation_run import Run

logger = logging.getLogger(__name__)

N_PREVIEWS = 12
MIN_TO_BLAME_US = 3
"""Scans that all end in the same bug, from which on the run is broken rather than they."""


def plan(request: SegmentRequest) -> SegmentationPlan:
    """Say what a run would do; nothing is written and no lease is taken.

    Raises:
        ModelError: If the bundle is missing or damaged.
        StorageError: If scans cannot be listed.
    """
    run = Run.of(request, bundles.read_card(request.model_uri))
    youngest_s = youngest_settled_s(request)
    scans = list_scans(request, index_here, youngest_s, run.seal).scans(run.seal)
    settled, _ = _settle(scans, run, youngest_s)
    due = [scan.scan_id for scan in scans if scan.scan_id not in settled]
    return SegmentationPlan(due=due, settled=_count(list(settled.values())))


def segment(
    request: SegmentRequest, tell: Tell = lambda _: None, *, load_model: LoadModel = load_predictor
) -> SegmentationHandle:
    """Segment what is new, publish table, report and manifest, and count what happened.

    Args:
        request: What to do.
        tell: Called with the progress after every few scans.
        load_model: How the model of a bundle is had; called in the actors.

    Raises:
        IncompleteError: If there was nothing to take although something lies there, or did; nothing is published.
        LockedError: If a live run holds the output.
        ModelError: If the bundle is missing, damaged or fails its self-test.
        StorageError: If scans cannot be listed or outputs not written.
    """
    started = time.monotonic()
    card = bundles.read_card(request.model_uri)
    run = Run.of(request, card)
    _check_ids(request)
    claim(request.output_uri, "segmentation")
    with lease.held(request.output_uri, request.run_id, take_over=request.segmentation.take_over) as held:
        _remove_temporary(request.output_uri)
        youngest_s = youngest_settled_s(request)  # once: no container comes of age meanwhile
        index = partial(index_on_cluster, output_uri=request.output_uri, seal=run.seal)
        found = list_scans(request, index, youngest_s, run.seal)
        scans = found.scans(run.seal)
        settled, n_unreported_failures = _settle(scans, run, youngest_s)
        due = [scan for scan in scans if scan.scan_id not in settled]
        require_scans(found, due, settled.values(), request.output_uri)
        held.check()
        sums, new = StageSums(), []
        for rows, progress in _work_through(due, settled, run, sums, load_model):
            held.check()
            new.extend(rows)
            for where in {row.where for row in rows if row.where}:
                logger.error("segment: a scan brought out a bug, %s", where)
            tell(progress)
        held.check()
        _remove_temporary(request.output_uri)  # of workers that died in this run
        rows = sorted([*settled.values(), *new], key=lambda row: row.scan_id)
        speed = _speed(sums, time.monotonic() - started, n_done=_count(new)["done"], run=run)
        n_new_failures = n_unreported_failures + _count(new)["failed"]
        warnings = (*card.warnings, *found.warnings())
        for warning in warnings:
            logger.warning("segment: %s", warning)
        manifest = _manifest(run, rows, n_new_failures=n_new_failures, speed=speed, warnings=warnings)
        if rows or not segmentations.n_rows(request.output_uri):  # an empty table would replace what was found before
            _publish(manifest, rows, request.output_uri)
        held.check()
        ledger.compact(request.output_uri)
    by_status = ", ".join(f"{n} {status}" for status, n in manifest.counts.items())
    logger.info("segment: %s, %.0f s", by_status, speed.seconds)
    return SegmentationHandle(
        uri=request.output_uri,
        fingerprint=manifest.model_digest,
        counts=manifest.counts,
        n_new_failures=manifest.n_new_failures,
        common_bug=common_bug(new),
    )


def common_bug(new: Sequence[ScanRow]) -> str | None:
    """Return the sentence of the bug that every scan of a run ended in, if there are enough to blame ourselves."""
    sentences = {row.error if row.error_code == "internal_error" else None for row in new}
    return sentences.pop() if len(new) >= MIN_TO_BLAME_US and len(sentences) == 1 else None


def _check_ids(request: SegmentRequest) -> None:
    """Refuse to mix hashed ids and names in one output: the names of earlier masks would stay.

    Raises:
        ConfigError: If the earlier run did it the other way.
    """
    earlier = segmentations.find_manifest(request.output_uri)
    if earlier is not None and earlier.segmentation.hash_ids != request.segmentation.hash_ids:
        raise ConfigError(
            f"hash_ids is {request.segmentation.hash_ids}, and was {earlier.segmentation.hash_ids} when this output "
            "was begun. Choose another output: what it holds is named the other way."
        )


def _settle(scans: Sequence[ScanSource], run: Run, youngest_s: float) -> tuple[dict[str, ScanRow], int]:
    """Return the rows of scans that need no work in this run: finished, known bad, or too young.

    What a killed run did and never reported is this run's to report: a scan it finished is done, not skipped, and one
    it refused is a new failure; how many of those there are is returned too.
    """
    entries = ledger.Ledger.open(run.request.output_uri, run.request.run_id)
    finished, known_bad = entries.finished(), entries.known_bad()
    asked = run.request.segmentation

    def settle(scan: ScanSource) -> ScanRow | None:
        entry = finished.get(ledger.work_key(run.row(scan, "done")))
        bad = known_bad.get((scan.scan_id, scan.fingerprint))
        if scan.modified_s is not None and scan.modified_s > youngest_s:
            return run.row(scan, "deferred")
        if asked.force:
            return None
        if entry is not None and ledger.is_mask_intact(entry):
            is_reported = (scan.scan_id, scan.fingerprint) not in entries.unreported
            return ScanRow.model_validate(entry.model_dump() | {"status": "skipped" if is_reported else "done"})
        if bad is not None:
            return run.row(scan, "failed", error_code=bad.error_code, error=bad.error)
        return None

    settled = {row.scan_id: row for row in storage.map_in_parallel(settle, scans) if row is not None}
    n_unreported_failures = sum(
        row.status == "failed" and (row.scan_id, row.source_fingerprint) in entries.unreported
        for row in settled.values()
    )
    return settled, n_unreported_failures


def _work_through(
    due: Sequence[ScanSource], settled: dict[str, ScanRow], run: Run, sums: StageSums, load_model: LoadModel
) -> Iterator[tuple[list[ScanRow], Progress]]:
    """Yield rows of scans as they are finished, with how far the run is."""
    work = PredictionSpec(
        load=partial(load_scans, size_px=run.size_px, hu=run.hu),
        load_model=partial(
            load_model,
            run.request.model_uri,
            run.request.segmentation.precision,
            test_time_flips=run.test_time_flips,
        ),
        finish=partial(finish_scans, run=run),
        chunk_slices=BATCH_SIZE,
        n_slices=_weight,
        cut=cut,
        recall=run.recall,
        give_up=run.give_up,
        n_gpus=run.request.n_gpus,
    )
    n_failed = _count(list(settled.values()))["failed"]
    counts, started = Counter[ScanStatus](failed=n_failed), time.monotonic()

    def progress() -> Progress:
        return Progress(
            n_scans=len(due) + len(settled),
            n_done=counts["done"],
            n_skipped=len(settled) - n_failed,
            n_failed=counts["failed"],
            n_slices=sums.n_slices,
            seconds=time.monotonic() - started,
        )

    yield [], progress()
    for rows in PredictionStream(work, sums).rows(due):
        counts.update(row.status for row in rows)
        yield rows, progress()


def _weight(scan: ScanSource) -> int:
    """Return how many slices a scan counts for in a chunk; a volume whose depth is not known yet fills one."""
    return BATCH_SIZE if layout_of(scan.kind) == "volume" else scan.n_slices


def _count(rows: Sequence[ScanRow]) -> dict[ScanStatus, int]:
    found = Counter(row.status for row in rows)
    return {status: found[status] for status in get_args(ScanStatus)}


def _speed(sums: StageSums, seconds: float, *, n_done: int, run: Run) -> Speed:
    n_nodes = sum(node["Alive"] for node in ray.nodes())
    return Speed(
        seconds=round(seconds, 2),
        load_seconds=round(sums.load_seconds, 2),
        predict_seconds=round(sums.predict_seconds, 2),
        finish_seconds=round(sums.finish_seconds, 2),
        bytes_read=sums.bytes_read,
        bytes_written=sums.bytes_written,
        n_slices=sums.n_slices,
        slices_per_second=sums.slices_per_second,
        scans_per_hour=n_done / seconds * 3600 if n_done else None,
        n_nodes=n_nodes,
        cost_per_1000_scans=cost_per_1000(
            seconds, n_scans=n_done, n_nodes=n_nodes, price_per_node_hour=run.request.price_per_node_hour
        ),
    )


def _manifest(
    run: Run, rows: Sequence[ScanRow], *, n_new_failures: int, speed: Speed, warnings: tuple[str, ...]
) -> SegmentationManifest:
    """Return the manifest of the finished run."""
    return SegmentationManifest(
        run_id=run.request.run_id,
        scans_uri=shown_uri(run.request.scans_uri),
        model_uri=shown_uri(run.request.model_uri),
        model_digest=run.model_digest,
        params_digest=run.params_digest,
        segmentation=run.request.segmentation,
        threshold=run.threshold,
        test_time_flips=run.test_time_flips,
        n_predictions=run.n_predictions,
        min_lesion_px=run.min_lesion_px,
        counts=_count(rows),
        n_new_failures=n_new_failures,
        seconds=speed.seconds,
        speed=speed,
        code_version=run.code_version,
        versions=library_versions(),
        warnings=warnings,
    )


def _publish(manifest: SegmentationManifest, rows: Sequence[ScanRow], output_uri: str) -> None:
    page = segmentation_report(manifest, rows, previews=segmentations.read_largest(output_uri, rows, N_PREVIEWS))
    segmentations.publish(output_uri, manifest, rows, page=page)


def _remove_temporary(output_uri: str) -> None:
    n_removed = segmentations.remove_temporary(output_uri)
    if n_removed:
        logger.info("segment: removed %d temporary files of killed writers", n_removed)
