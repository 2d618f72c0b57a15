"""Step prepare: one Ray task per shard decodes, resizes and writes slices; a rejected slice becomes a row."""

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray.data

from tasks.core.addresses import shown_uri
from tasks.core.appearance import appearance_of
from tasks.core.catalog import Split
from tasks.core.config.preparation import PreparationConfig
from tasks.core.errors import ConfigError, as_refusal
from tasks.core.handles import DatasetHandle
from tasks.core.near_duplicates import thumbnail
from tasks.core.rows import FailureRow, SlicePair
from tasks.core.source_statistics import SliceMeasures, statistics_of
from tasks.core.step_inputs import PrepareRequest
from tasks.core.throughput import ReportProgress, StepProgress
from tasks.engine.cluster.ray_data import quieten_ray_data
from tasks.io import source_tables, storage
from tasks.io.formats import is_volume
from tasks.io.outputs import datasets
from tasks.io.outputs.datasets import SliceRow
from tasks.stages.dataset_card import (
    SplitOf,
    cases_of,
    draft_card,
    fit_appearance,
    require_every_split,
    slice_key,
    split_of_slices,
    split_of_written,
)
from tasks.stages.labelled_pairs import preprocess_pair
from tasks.stages.leakage import audit_leakage

logger = logging.getLogger(__name__)

SLICES_PER_SHARD = 128
"""Slices per shard, task and object: 16 MiB of pixels at 256 px. A case is not cut, so that a shard may hold more."""
MAX_SLICES_PER_SHARD = 1024
"""Largest number of slices: an even longer case is cut, and smoothed along z in parts."""


@dataclass(slots=True)
class _Written:
    """Slices that were written, and what was rejected.

    Attributes:
        measures: Of each slice, by key.
        thumbnails: Thumbnail of each slice, likewise.
        appearances: Appearance of each slice, float32 in bytes, likewise.
        n_lung_masks: Slices with a lung mask.
        failures: Rejected slices and volumes.
    """

    measures: dict[tuple[str, int], SliceMeasures] = field(default_factory=dict)
    thumbnails: dict[tuple[str, int], bytes] = field(default_factory=dict)
    appearances: dict[tuple[str, int], bytes] = field(default_factory=dict)
    n_lung_masks: int = 0
    failures: list[FailureRow] = field(default_factory=list)

    @property
    def lesion_fractions(self) -> dict[tuple[str, int], float]:
        """Share of lesion in each slice, by key."""
        return {key: found.lesion_fraction for key, found in self.measures.items()}


def prepare(request: PrepareRequest, report_progress: ReportProgress = lambda _: None) -> DatasetHandle:
    """Write shards, tables and card of a dataset whose slices are listed and split.

    Args:
        request: Input of the step.
        report_progress: Called with the progress after every shard.

    Raises:
        ConfigError: If no slice of some split could be used, or another run listed the source again meanwhile.
        StorageError: If the store refuses.
    """
    pairs = source_tables.read_pairs(request.source.uri)
    failures = source_tables.read_failures(request.source.uri)
    splits = source_tables.read_splits(request.source.uri)
    _require_unchanged(request, pairs, failures, splits)
    earlier = datasets.find_card(request.dataset_uri)
    storage.remove_tree(storage.join(request.dataset_uri, datasets.SLICES_FOLDER))
    split_of = split_of_slices(pairs, splits, request.preparation)
    written = _write_shards(pairs, split_of, request, report_progress)
    failures = sorted([*failures, *written.failures], key=lambda failure: failure.uri)
    cases = cases_of(pairs, split_of, written.lesion_fractions)
    require_every_split(cases, failures)
    written_in = split_of_written(written.thumbnails, cases, split_of)
    leakage = audit_leakage(written.thumbnails, cases, written_in)
    card = draft_card(
        request,
        cases,
        splits,
        earlier=earlier,
        lesion_fractions=written.lesion_fractions,
        sources=statistics_of(cases, written.measures),
        n_lung_masks=written.n_lung_masks,
        n_failed=len(failures),
        leakage=leakage,
        appearance=fit_appearance(written.appearances, cases, written_in),
    )
    for warning in card.warnings:
        if warning not in request.source.warnings:  # those were logged when it was listed
            logger.warning("prepare: %s", warning)
    datasets.publish_dataset(request.dataset_uri, card, cases=cases, failures=failures, duplicates=leakage.duplicates)
    logger.info("prepare: %d slices from %d cases, %d failed", card.n_slices, card.n_cases, card.n_failed)
    return datasets.handle_of(card, request.dataset_uri)


def _require_unchanged(
    request: PrepareRequest,
    pairs: Sequence[SlicePair],
    failures: Sequence[FailureRow],
    splits: Mapping[str, Split],
) -> None:
    """Refuse tables that another run has replaced since the request was made."""
    listed = source_tables.source_fingerprint(pairs, failures, request.preparation)
    if source_tables.split_fingerprint(listed, splits) != request.source.fingerprint:
        raise ConfigError(
            f"The tables below {shown_uri(request.source.uri)} were written anew after this run had listed its source, "
            "perhaps by another run on the same dataset. Start this one again when the other has ended."
        )


def _write_shards(
    pairs: Sequence[SlicePair], split_of: SplitOf, request: PrepareRequest, report_progress: ReportProgress
) -> _Written:
    """Write every shard."""
    quieten_ray_data()
    shards, started = _plan_shards(pairs, split_of, request.dataset_uri), time.monotonic()
    results = ray.data.from_items(shards, override_num_blocks=len(shards)).flat_map(
        _write_shard,  # type: ignore[arg-type]  # Ray's type of a function leaves fn_kwargs out
        fn_kwargs={"preparation": request.preparation},
    )
    written, pairs_done = _Written(), set[str]()
    for row in results.iter_rows():
        if row["uri"] not in pairs_done:
            pairs_done.add(row["uri"])
            seconds = time.monotonic() - started
            report_progress(StepProgress(len(pairs), n_done=len(pairs_done), seconds=seconds, unit="labelled images"))
        if row["error_code"]:
            written.failures.append(FailureRow(uri=row["uri"], error_code=row["error_code"], error=row["error"]))
            if row["where"]:
                logger.error("prepare: a pair triggered a bug, %s", row["where"])
        else:
            key = row["case_id"], row["slice_index"]
            written.measures[key] = SliceMeasures(row["lesion_fraction"], row["side_px"], row["spacing_mm"])
            written.thumbnails[key] = row["thumbnail"]
            written.appearances[key] = row["appearance"]
            written.n_lung_masks += row["has_lung"]
    return written


def _plan_shards(
    pairs: Sequence[SlicePair], split_of: SplitOf, dataset_uri: str
) -> list[dict[str, Any]]:  # Any: a URI and its pairs
    by_split: dict[Split, list[list[SlicePair]]] = defaultdict(list)
    for pair in pairs:
        shards = by_split[split_of[slice_key(pair)]]
        if not shards or _begins_a_shard(pair, shards[-1]):
            shards.append([])
        shards[-1].append(pair)
    return [
        {
            "shard_uri": datasets.shard_uri(dataset_uri, split, f"{number:05d}"),
            "pairs": [pair.model_dump() for pair in members],
        }
        for split, shards in by_split.items()
        for number, members in enumerate(shards)
    ]


def _begins_a_shard(pair: SlicePair, shard: Sequence[SlicePair]) -> bool:
    """Return whether a pair is not added to the last shard; a volume is a shard of its own."""
    if is_volume(pair.image_uri) or is_volume(shard[-1].image_uri) or len(shard) == MAX_SLICES_PER_SHARD:
        return True
    return len(shard) >= SLICES_PER_SHARD and pair.case_id != shard[-1].case_id


def _write_shard(shard: dict[str, Any], *, preparation: PreparationConfig) -> list[dict[str, Any]]:
    """Write one shard; return a row per slice: its lesion fraction, or why it was rejected."""
    kept: list[SliceRow] = []
    rows: list[dict[str, Any]] = []
    for pair in (SlicePair.model_validate(values) for values in shard["pairs"]):
        row = {"case_id": pair.case_id, "slice_index": pair.slice_index, "uri": pair.image_uri}
        try:
            slices = list(preprocess_pair(pair, preparation))
            measures = [_measures(found) for found in slices]
        except Exception as err:  # noqa: BLE001 - the boundary of one pair
            refused = as_refusal(err)
            why = {"error_code": refused.code, "error": refused.sentence, "where": refused.where}
            rows.append(row | dict.fromkeys(_MEASURES) | why)
            continue
        kept.extend(slices)
        for found, measured in zip(slices, measures, strict=True):
            position = {"slice_index": found["slice_index"]}
            rows.append(row | position | measured | {"error_code": None, "error": None, "where": None})
    if kept:
        datasets.write_shard(shard["shard_uri"], kept)
    return rows


_MEASURES = ("lesion_fraction", "side_px", "spacing_mm", "has_lung", "thumbnail", "appearance")


def _measures(found: SliceRow) -> dict[str, Any]:  # Any: numbers and bytes
    """Return what card, audit and drift need of a slice."""
    image, spacing_mm = found["image"], found["spacing_mm"]
    values = (
        float(found["mask"].mean()),
        min(found["source_height"], found["source_width"]),
        [float(step) for step in spacing_mm] if spacing_mm else None,
        found["lung"] is not None,
        thumbnail(image).tobytes(),
        appearance_of(image).tobytes(),
    )
    return dict(zip(_MEASURES, values, strict=True))
