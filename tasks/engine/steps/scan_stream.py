"""Prediction stream of a segmentation: scans to rows."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from tasks.core.rows import ScanRow, ScanStatus
from tasks.core.throughput import Progress, StageSums
from tasks.engine.inference.bundle_model import BATCH_SIZE, LoadModel
from tasks.engine.inference.chunks import PredictionSpec
from tasks.engine.inference.stream import PredictionStream
from tasks.io.formats import layout_of
from tasks.io.scan_sources import ScanSource
from tasks.stages.finish_scans import finish_scans
from tasks.stages.load_scans import cut, load_scans
from tasks.stages.segmentation_run import Run

logger = logging.getLogger(__name__)


def segment_due(
    due: Sequence[ScanSource], run: Run, sums: StageSums, load_model: LoadModel, *, known: Sequence[ScanRow]
) -> Iterator[tuple[list[ScanRow], Progress]]:
    """Yield the rows of scans as they are finished, with the progress of the run.

    Args:
        due: Scans to segment.
        run: Segmentation run.
        sums: Sums of times and bytes, updated by the stream.
        load_model: Function that loads the model of a bundle in an actor.
        known: Rows of the other scans, which count in the progress.
    """
    before = Counter(row.status for row in known)
    counts, started = Counter[ScanStatus](failed=before["failed"]), time.monotonic()

    def progress() -> Progress:
        return Progress(
            n_scans=len(due) + len(known) - before["not_a_scan"],
            n_done=counts["done"],
            n_skipped=before["skipped"] + before["done"],
            n_deferred=before["deferred"],
            n_failed=counts["failed"],
            n_slices=sums.n_slices,
            seconds=time.monotonic() - started,
        )

    yield [], progress()
    for rows in PredictionStream(_spec(run, load_model), sums).rows(due):
        for where in {row.where for row in rows if row.where}:
            logger.error("segment: a scan triggered a bug, %s", where)
        counts.update(row.status for row in rows)
        yield rows, progress()


def _spec(run: Run, load_model: LoadModel) -> PredictionSpec[ScanSource, ScanRow]:
    return PredictionSpec(
        load=partial(load_scans, model_input=run.model_input),
        load_model=partial(
            load_model,
            run.request.model_uri,
            run.request.segmentation.precision,
            test_time_flips=run.test_time_flips,
        ),
        finish=partial(finish_scans, run=run),
        chunk_slices=BATCH_SIZE,
        n_slices=_n_slices,
        cut=cut,
        recall=run.recall,
        give_up=run.give_up,
        n_gpus=run.request.n_gpus,
        timeout_s=60 * run.request.segmentation.scan_timeout_minutes,
    )


def _n_slices(scan: ScanSource) -> int:
    """Return the number of slices by which a scan fills a chunk; a volume of unknown depth fills one alone."""
    return BATCH_SIZE if layout_of(scan.kind) == "volume" else scan.n_slices
