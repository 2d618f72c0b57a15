"""Turn paired slices into shards: one Ray task a shard decodes, resizes and writes; a bad slice becomes a row."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ray.data

from tasks.core.catalog import SPLITS, Split
from tasks.core.config.preparation import PreparationConfig
from tasks.core.errors import ConfigError, as_refusal
from tasks.core.handles import DatasetHandle
from tasks.core.intensity import INTENSITY_RULE
from tasks.core.rows import CaseRow, FailureRow, SlicePair
from tasks.core.schemas import LEAKY, DatasetCard
from tasks.core.splits import split_slices
from tasks.core.step_inputs import PrepareRequest
from tasks.io import sources, storage
from tasks.io.formats import is_volume
from tasks.io.outputs import datasets
from tasks.io.outputs.datasets import SliceRow
from tasks.io.versions import code_version
from tasks.stages.labelled_pairs import preprocess_pair

logger = logging.getLogger(__name__)

SplitOf = Mapping[tuple[str, int], Split]
"""By case_id and slice_index."""

SLICES_PER_SHARD = 128
"""16 MiB of pixels at 256 px: one task's work, one object of the store."""


def prepare(request: PrepareRequest) -> DatasetHandle:
    """Write shards, tables and card of a dataset whose slices are found and split.

    Raises:
        ConfigError: If no slice of some split could be used.
        StorageError: If the store refuses.
    """
    pairs = sources.read_pairs(request.source.uri)
    failures = sources.read_failures(request.source.uri)
    earlier = datasets.find_card(request.dataset_uri)
    storage.remove_tree(storage.join(request.dataset_uri, datasets.SLICES_FOLDER))
    split_of = _splits(pairs, request)
    slices, new_failures = _write_shards(pairs, split_of, request.dataset_uri, request.preparation)
    failures = sorted([*failures, *new_failures], key=lambda failure: failure.uri)
    cases = _cases(pairs, split_of, slices)
    _check_splits(cases, failures)
    card = _card(request, cases, earlier=earlier, n_failed=len(failures))
    datasets.publish_dataset(request.dataset_uri, card, cases=cases, failures=failures)
    logger.info("prepare: %d slices from %d cases, %d failed", card.n_slices, card.n_cases, card.n_failed)
    return datasets.handle_of(card, request.dataset_uri)


def _splits(pairs: Sequence[SlicePair], request: PrepareRequest) -> SplitOf:
    """Return the split of each slice: that of its patient, or one of its own."""
    if request.preparation.strategy == "patient":
        return {_key(pair): request.source.assignments[pair.patient_id] for pair in pairs}
    keys = [_key(pair) for pair in pairs]
    return split_slices(keys, fractions=request.preparation.fractions, seed=request.preparation.seed)


def _key(pair: SlicePair) -> tuple[str, int]:
    return pair.case_id, pair.slice_index


def _write_shards(
    pairs: Sequence[SlicePair], split_of: SplitOf, dataset_uri: str, preparation: PreparationConfig
) -> tuple[dict[tuple[str, int], float], list[FailureRow]]:
    """Write every shard; return the lesion fraction of each slice by key, and what was rejected."""
    shards = _plan_shards(pairs, split_of, dataset_uri)
    results = ray.data.from_items(shards, override_num_blocks=len(shards)).flat_map(
        _write_shard,  # type: ignore[arg-type]  # Ray's type of a function leaves fn_kwargs out
        fn_kwargs={"preparation": preparation},
    )
    slices, failures = {}, []
    for row in results.iter_rows():
        if row["error_code"]:
            failures.append(FailureRow(uri=row["uri"], error_code=row["error_code"], error=row["error"]))
            if row["where"]:
                logger.error("prepare: a pair triggered a bug, %s", row["where"])
        else:
            slices[row["case_id"], row["slice_index"]] = row["lesion_fraction"]
    return slices, failures


def _plan_shards(
    pairs: Sequence[SlicePair], split_of: SplitOf, dataset_uri: str
) -> list[dict[str, Any]]:  # Any: a URI and its pairs
    by_split: dict[Split, list[list[SlicePair]]] = defaultdict(list)
    for pair in pairs:
        shards = by_split[split_of[_key(pair)]]
        is_full = not shards or len(shards[-1]) == SLICES_PER_SHARD or is_volume(shards[-1][-1].image_uri)
        if is_full or is_volume(pair.image_uri):  # a volume is a shard of its own
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


def _write_shard(shard: dict[str, Any], *, preparation: PreparationConfig) -> list[dict[str, Any]]:
    """Write one shard; return a row a slice: its lesion fraction, or why it was rejected."""
    kept: list[SliceRow] = []
    rows: list[dict[str, Any]] = []
    for pair in (SlicePair.model_validate(values) for values in shard["pairs"]):
        row = {"case_id": pair.case_id, "slice_index": pair.slice_index, "uri": pair.image_uri}
        try:
            slices = list(preprocess_pair(pair, preparation))
        except Exception as err:  # noqa: BLE001 - the boundary of one pair
            refused = as_refusal(err)
            why = {"error_code": refused.code, "error": refused.sentence, "where": refused.where}
            rows.append(row | {"lesion_fraction": None} | why)
            continue
        kept.extend(slices)
        for found in slices:
            share = {"slice_index": found["slice_index"], "lesion_fraction": float(found["mask"].mean())}
            rows.append(row | share | {"error_code": None, "error": None, "where": None})
    if kept:
        datasets.write_shard(shard["shard_uri"], kept)
    return rows


def _cases(
    pairs: Iterable[SlicePair], split_of: SplitOf, lesion_fractions: Mapping[tuple[str, int], float]
) -> list[CaseRow]:
    """Return a row a case, or a row a case and side where the split is by slice."""
    of_volume: dict[str, list[float]] = defaultdict(list)
    for (case_id, _), fraction in lesion_fractions.items():
        of_volume[case_id].append(fraction)
    members: dict[tuple[str, Split], list[SlicePair]] = defaultdict(list)
    fractions: dict[tuple[str, Split], list[float]] = defaultdict(list)
    for pair in pairs:
        found = lesion_fractions.get(_key(pair))
        if found is None:
            continue
        part = pair.case_id, split_of[_key(pair)]
        members[part].append(pair)
        fractions[part] += of_volume[pair.case_id] if is_volume(pair.image_uri) else [found]
    return [
        CaseRow(
            case_id=case_id,
            patient_id=slices[0].patient_id,
            source=slices[0].source,
            split=split,
            n_slices=len(fractions[case_id, split]),
            lesion_fraction=sum(fractions[case_id, split]) / len(fractions[case_id, split]),
            source_uri=slices[0].image_uri.rsplit("/", 1)[0],
            source_fingerprint=sources.case_fingerprint(slices),
        )
        for (case_id, split), slices in sorted(members.items())
    ]


def _check_splits(cases: Sequence[CaseRow], failures: Sequence[FailureRow]) -> None:
    empty = [split for split in SPLITS if all(case.split != split for case in cases)]
    if empty:
        codes = ", ".join(f"{n} {code}" for code, n in Counter(failure.error_code for failure in failures).items())
        first = f" The first: {failures[0].error}" if failures else ""
        raise ConfigError(f"No usable slice is left for {', '.join(empty)}; rejected were: {codes or 'none'}.{first}")


def _card(
    request: PrepareRequest, cases: Sequence[CaseRow], *, earlier: DatasetCard | None, n_failed: int
) -> DatasetCard:
    is_by_patient = request.preparation.strategy == "patient"
    # Patients that are gone, or whose slices all failed, keep their side for the day they come back.
    assignments = (earlier.assignments if earlier else {}) | request.source.assignments
    by_split = {split: sum(case.n_slices for case in cases if case.split == split) for split in SPLITS}
    return DatasetCard(
        fingerprint=request.source.fingerprint,
        code_version=code_version(),
        size_px=request.preparation.size_px,
        intensity_rule=INTENSITY_RULE,
        source_uri=request.source_uri,
        preparation=request.preparation,
        assignments=assignments if is_by_patient else {},
        n_patients=len({case.patient_id for case in cases}),
        n_cases=len({case.case_id for case in cases}),
        n_slices=sum(by_split.values()),
        n_slices_by_split=by_split,
        n_failed=n_failed,
        warnings=request.source.warnings if is_by_patient else (LEAKY, *request.source.warnings),
    )
