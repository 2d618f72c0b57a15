"""Output of a segmentation run: locked while it writes, published at the end."""

import contextlib
import logging
from collections.abc import Iterator, Sequence

from tasks.core.addresses import shown_uri
from tasks.core.drift import CollectionDrift
from tasks.core.pages.segmentation import segmentation_report, to_review
from tasks.core.plural import counted
from tasks.core.rows import ScanRow
from tasks.core.schemas import SegmentationManifest, Speed
from tasks.core.throughput import StageSums, cost_per_1000
from tasks.engine.steps.up_to_date import count_by_status
from tasks.io import ledger, output_lock, storage
from tasks.io.outputs import segmentations
from tasks.io.outputs.ownership import claim
from tasks.io.versions import library_versions
from tasks.stages.segmentation_run import Run

logger = logging.getLogger(__name__)

N_PREVIEWS = 24
"""Pictures inside the page, of the most urgent scans to review; a page that is sent away shows at least these."""
MAX_PREVIEW_BYTES = 3_000_000
"""Bytes of these pictures together: a page that is opened over a network is to stay small."""


@contextlib.contextmanager
def held_output(run: Run) -> Iterator[output_lock.OutputLock]:
    """Hold the lock on a run's output while the body writes, then turn its ledger into one table.

    Raises:
        ConfigError: If the output holds foreign files.
        LockedError: If another running flow holds it.
    """
    output_uri = run.request.output_uri
    claim(output_uri, "segmentation")
    with output_lock.held(output_uri, run.request.run_id, take_over=run.request.segmentation.take_over) as lock:
        _remove_temporary(output_uri)  # of workers of earlier runs that were killed
        yield lock
        lock.check()
        ledger.compact(output_uri)


def publish_run(
    run: Run,
    rows: Sequence[ScanRow],
    *,
    n_new_failures: int,
    speed: Speed,
    drift: CollectionDrift | None,
    warnings: tuple[str, ...],
) -> SegmentationManifest:
    """Publish table, report and manifest of a run, and return the manifest."""
    output_uri = run.request.output_uri
    _remove_temporary(output_uri)  # of workers that died in this run
    manifest = _manifest(run, rows, n_new_failures=n_new_failures, speed=speed, drift=drift, warnings=warnings)
    if rows or not segmentations.n_rows(output_uri):  # an empty table would replace what was found before
        pictures = segmentations.read_previews(output_uri, to_review(rows)[:N_PREVIEWS], max_bytes=MAX_PREVIEW_BYTES)
        page = segmentation_report(manifest, rows, pictures=pictures)
        segmentations.publish(output_uri, manifest, rows, page=page)
    return manifest


def speed_of(run: Run, sums: StageSums, seconds: float, *, n_done: int, n_nodes: int) -> Speed:
    """Return the throughput and the cost of a run."""
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
    run: Run,
    rows: Sequence[ScanRow],
    *,
    n_new_failures: int,
    speed: Speed,
    drift: CollectionDrift | None,
    warnings: tuple[str, ...],
) -> SegmentationManifest:
    return SegmentationManifest(
        run_id=run.request.run_id,
        scans_uri=shown_uri(run.request.scans_uri),
        model_uri=shown_uri(run.request.model_uri),
        model_digest=run.model_digest,
        params_digest=run.params_digest,
        segmentation=run.request.segmentation,
        hu=run.model_input.hu,
        threshold=run.threshold,
        test_time_flips=run.test_time_flips,
        n_predictions=run.n_predictions,
        drift=drift,
        min_lesion_px=run.min_lesion_px,
        counts=count_by_status(rows),
        n_new_failures=n_new_failures,
        seconds=speed.seconds,
        speed=speed,
        code_version=run.code_version,
        versions=library_versions(),
        warnings=warnings,
    )


def _remove_temporary(output_uri: str) -> None:
    """Remove temporary files of killed writers in folders that only the holder of the lock writes to."""
    n_removed = sum(
        storage.remove_temporary(storage.join(output_uri, f)) for f in (*segmentations.FOLDERS, ledger.FOLDER)
    )
    if n_removed:
        logger.info("segment: removed %d temporary files of killed writers", n_removed)


def warn_of_deferred(manifest: SegmentationManifest) -> None:
    """Log why scans wait for the next run, if some do."""
    if manifest.counts["deferred"]:
        logger.warning(
            "segment: %s deferred, younger than %g min (segmentation.settle_minutes) or beside such slices of the same "
            "series, so perhaps still uploading; a later run takes them",
            counted(manifest.counts["deferred"], "scan"),
            manifest.segmentation.settle_minutes,
        )
