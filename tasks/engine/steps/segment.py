"""Step segment: list the scans, sort out those up to date, segment the others, publish."""

import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial

import ray

from tasks.core.drift import CollectionDrift
from tasks.core.errors import ConfigError
from tasks.core.handles import SegmentationHandle
from tasks.core.plural import counted
from tasks.core.rows import ScanRow
from tasks.core.schemas import SegmentationManifest
from tasks.core.step_inputs import SegmentRequest
from tasks.core.throughput import ReportProgress, StageSums
from tasks.engine.inference.bundle_model import LoadModel, load_predictor
from tasks.engine.inference.indexing import index_on_cluster
from tasks.engine.steps.listing import list_scans, require_scans, youngest_stable_s
from tasks.engine.steps.scan_stream import segment_due
from tasks.engine.steps.segmentation_output import held_output, publish_run, speed_of, warn_of_deferred
from tasks.engine.steps.up_to_date import count_by_status, sort_scans
from tasks.io import storage
from tasks.io.outputs import bundles, segmentations
from tasks.stages.encode_masks import NOT_MADE
from tasks.stages.segmentation_run import Run

logger = logging.getLogger(__name__)

MIN_WITH_COMMON_BUG = 3
"""Number of scans with the same bug from which the installation counts as broken, not the scans."""


def segment(
    request: SegmentRequest, report_progress: ReportProgress = lambda _: None, *, load_model: LoadModel = load_predictor
) -> SegmentationHandle:
    """Segment new scans, publish table, report and manifest, and return the counts by status.

    Args:
        request: Input of the step.
        report_progress: Called with the progress after every few scans.
        load_model: Function that loads the model of a bundle in an actor.

    Raises:
        ConfigError: If nothing exists at the scans' address.
        IncompleteError: If no scan was read although files are or were there; nothing is published.
        LockedError: If another running flow holds the output.
        ModelError: If the bundle is missing, damaged or fails its self-test.
        StorageError: If scans cannot be listed or outputs not written.
    """
    started = time.monotonic()
    card = bundles.read_card(request.model_uri)
    run = Run.of(request, card)
    _check_ids(request)
    storage.require(request.scans_uri)  # before anything is written to the output
    with held_output(run) as lock:
        youngest_s = youngest_stable_s(request)  # once: no container comes of age meanwhile
        index = partial(index_on_cluster, timeout_s=60 * request.segmentation.scan_timeout_minutes)
        found = list_scans(request, index, youngest_s, run.seal)
        scans = sort_scans(found.scans(run.seal), run, youngest_s)
        require_scans(found, scans.new, scans.known, request.output_uri)
        if not scans.due:  # else every actor verifies the bundle that it loads
            bundles.read_bundle(request.model_uri)
        lock.check()
        new = run.record_all(scans.rejected(run))
        sums = StageSums()
        for rows, progress in segment_due(scans.due, run, sums, load_model, known=[*scans.known, *new]):
            lock.check()
            new.extend(rows)
            report_progress(progress)
        lock.check()
        counts = count_by_status(new)
        rows = sorted([*scans.known, *new], key=lambda row: row.scan_id)
        drift = CollectionDrift.of(row.drift_score for row in rows)
        warnings = (*card.warnings, *found.warnings(), *_warnings_of(new), *(drift.warnings() if drift else ()))
        _log(warnings)
        manifest = publish_run(
            run,
            rows,
            n_new_failures=scans.n_unreported + counts["failed"],
            speed=speed_of(run, sums, time.monotonic() - started, n_done=counts["done"], n_nodes=_n_nodes()),
            drift=drift,
            warnings=warnings,
        )
    warn_of_deferred(manifest)
    _log_end(manifest)
    return SegmentationHandle(
        uri=request.output_uri,
        fingerprint=manifest.model_digest,
        counts=manifest.counts,
        n_new_failures=manifest.n_new_failures,
        common_bug=common_bug(new),
    )


def _n_nodes() -> int:
    return sum(node["Alive"] for node in ray.nodes())


def _log(warnings: Sequence[str]) -> None:
    for warning in warnings:
        logger.warning("segment: %s", warning)


def _log_end(manifest: SegmentationManifest) -> None:
    by_status = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in manifest.counts.items())
    logger.info("segment: %s, %.0f s", by_status, manifest.seconds)


def _warnings_of(rows: Sequence[ScanRow]) -> Iterator[str]:
    n_without = sum(any(warning.startswith(NOT_MADE) for warning in row.warnings) for row in rows)
    if n_without:
        yield f"{counted(n_without, 'scan')} without a format of mask that was asked for; their warnings say why."


def common_bug(new: Sequence[ScanRow]) -> str | None:
    """Return the sentence of the bug that every scan of a run failed with, if there are enough scans."""
    sentences = {row.error if row.error_code == "internal_error" else None for row in new}
    return sentences.pop() if len(new) >= MIN_WITH_COMMON_BUG and len(sentences) == 1 else None


def _check_ids(request: SegmentRequest) -> None:
    """Refuse to mix hashed ids and names in one output: the names of earlier masks would stay.

    Raises:
        ConfigError: If the earlier run did it differently.
    """
    earlier = segmentations.find_manifest(request.output_uri)
    if earlier is not None and earlier.segmentation.hash_ids != request.segmentation.hash_ids:
        raise ConfigError(
            f"hash_ids is {request.segmentation.hash_ids}, and was {earlier.segmentation.hash_ids} when this output "
            "was begun. Choose another output: what it holds is named the other way."
        )
