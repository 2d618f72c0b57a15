"""Cases and card of a dataset, from its labelled slices and their splits."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from tasks.core.catalog import SPLITS, Split
from tasks.core.config.preparation import PreparationConfig
from tasks.core.drift import TrainingAppearance, appearance_of_training
from tasks.core.errors import ConfigError
from tasks.core.intensity import INTENSITY_RULE
from tasks.core.plural import counted
from tasks.core.rows import CaseRow, FailureRow, SlicePair
from tasks.core.schemas import LEAKY, DatasetCard
from tasks.core.source_statistics import SourceStatistics
from tasks.core.splits import split_slices
from tasks.core.step_inputs import PrepareRequest
from tasks.io import source_tables
from tasks.io.formats import is_volume
from tasks.io.versions import code_version
from tasks.stages.leakage import Leakage

MAX_LESION_FRACTION = 0.3
"""Share of a slice above which a lesion is doubted; in the public scans the largest is 0.10."""

SplitOf = Mapping[tuple[str, int], Split]
"""Split by case_id and slice_index."""


def slice_key(pair: SlicePair) -> tuple[str, int]:
    """Return the key of a slice."""
    return pair.case_id, pair.slice_index


def split_of_slices(pairs: Sequence[SlicePair], splits: Mapping[str, Split], preparation: PreparationConfig) -> SplitOf:
    """Return the split of each slice: that of its patient, or one of its own."""
    if preparation.strategy == "patient":
        return {slice_key(pair): splits[pair.patient_id] for pair in pairs}
    keys = [slice_key(pair) for pair in pairs]
    return split_slices(keys, fractions=preparation.fractions, seed=preparation.seed)


def split_of_written(keys: Iterable[tuple[str, int]], cases: Sequence[CaseRow], split_of: SplitOf) -> SplitOf:
    """Return the split of each slice that was written; those of a volume, which is listed as one, have its split."""
    of_case = {case.case_id: case.split for case in cases}
    return {key: split_of.get(key, of_case[key[0]]) for key in keys}


def cases_of(
    pairs: Sequence[SlicePair], split_of: SplitOf, lesion_fractions: Mapping[tuple[str, int], float]
) -> list[CaseRow]:
    """Return one row per case, or per case and split where the split is by slice.

    Args:
        pairs: Every labelled slice of the source.
        split_of: Split of each.
        lesion_fractions: Of the slices that were written, by `slice_key`.
    """
    of_volume: dict[str, list[float]] = defaultdict(list)
    for (case_id, _), fraction in lesion_fractions.items():
        of_volume[case_id].append(fraction)
    n_listed = Counter(pair.case_id for pair in pairs)
    members: dict[tuple[str, Split], list[SlicePair]] = defaultdict(list)
    fractions: dict[tuple[str, Split], list[float]] = defaultdict(list)
    for pair in pairs:
        found = lesion_fractions.get(slice_key(pair))
        if found is None:
            continue
        part = pair.case_id, split_of[slice_key(pair)]
        members[part].append(pair)
        fractions[part] += of_volume[pair.case_id] if is_volume(pair.image_uri) else [found]
    return [
        CaseRow(
            case_id=case_id,
            patient_id=slices[0].patient_id,
            source=slices[0].source,
            split=split,
            n_slices=len(fractions[case_id, split]),
            n_source_slices=len(of_volume[case_id]) if is_volume(slices[0].image_uri) else n_listed[case_id],
            lesion_fraction=sum(fractions[case_id, split]) / len(fractions[case_id, split]),
            source_uri=slices[0].image_uri.rsplit("/", 1)[0],
            source_fingerprint=source_tables.case_fingerprint(slices),
        )
        for (case_id, split), slices in sorted(members.items())
    ]


def require_every_split(cases: Sequence[CaseRow], failures: Sequence[FailureRow]) -> None:
    """Refuse a dataset of which a split has no slice.

    Raises:
        ConfigError: If a split is empty; the message has the reasons of rejections.
    """
    empty = [split for split in SPLITS if all(case.split != split for case in cases)]
    if empty:
        codes = ", ".join(f"{n} {code}" for code, n in Counter(failure.error_code for failure in failures).items())
        first = f" The first: {failures[0].error}" if failures else ""
        raise ConfigError(f"No usable slice is left for {', '.join(empty)}; rejected: {codes or 'none'}.{first}")


def draft_card(
    request: PrepareRequest,
    cases: Sequence[CaseRow],
    splits: dict[str, Split],
    *,
    earlier: DatasetCard | None,
    lesion_fractions: Mapping[tuple[str, int], float],
    n_lung_masks: int,
    n_failed: int,
    leakage: Leakage,
    appearance: TrainingAppearance | None,
    sources: tuple[SourceStatistics, ...],
) -> DatasetCard:
    """Return the card of a dataset.

    Args:
        request: Input of the step.
        cases: Rows of `cases.parquet`.
        splits: Of the patients that were listed.
        earlier: Card of the dataset that was at this URI before.
        lesion_fractions: Share of lesion in each slice, by case and position.
        n_lung_masks: Slices with a lung mask.
        n_failed: Slices that were rejected.
        leakage: Audit for leakage.
        appearance: Appearance of the slices that are trained on.
        sources: Statistics of each source.
    """
    is_by_patient = request.preparation.strategy == "patient"
    # Patients that are gone, or whose slices were all rejected, keep their split in case they return.
    assignments = (earlier.assignments if earlier else {}) | splits
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
        n_lung_masks=n_lung_masks,
        n_failed=n_failed,
        leakage=leakage.audit,
        appearance=appearance,
        sources=sources,
        corrections=request.source.corrections,
        warnings=(
            *(() if is_by_patient else (LEAKY,)),
            *request.source.warnings,
            *warnings_of_masks(cases, lesion_fractions),
            *leakage.warnings(),
        ),
    )


def fit_appearance(
    appearances: Mapping[tuple[str, int], bytes], cases: Sequence[CaseRow], split_of: SplitOf
) -> TrainingAppearance | None:
    """Return the appearance of the slices that are trained on or validated on; None if they are of too few patients.

    Args:
        appearances: Of each slice, float32 in bytes, by `slice_key`.
        cases: Rows of `cases.parquet`.
        split_of: Split of each slice.
    """
    by_case = {case.case_id: case for case in cases}
    keys = [key for key in sorted(appearances) if split_of[key] != "test"]
    return appearance_of_training(
        np.array([np.frombuffer(appearances[key], np.float32) for key in keys]),
        patients=[by_case[case_id].patient_id for case_id, _ in keys],
        sources=[by_case[case_id].source for case_id, _ in keys],
    )


def warnings_of_masks(cases: Sequence[CaseRow], lesion_fractions: Mapping[tuple[str, int], float]) -> Iterator[str]:
    """Yield warnings about patients whose masks are hardly meant so: inverted, or empty."""
    patient_of = {case.case_id: case.patient_id for case in cases}
    largest: dict[str, float] = defaultdict(float)
    for (case_id, _), fraction in lesion_fractions.items():
        largest[patient_of[case_id]] = max(largest[patient_of[case_id]], fraction)
    n_full = sum(fraction > MAX_LESION_FRACTION for fraction in largest.values())
    if n_full:
        yield (
            f"{n_full} of {counted(len(largest), 'patient')} have a slice with lesion on more than "
            f"{MAX_LESION_FRACTION:.0%} of it ({max(largest.values()):.0%} at most). Are their masks inverted?"
        )
    n_empty = sum(fraction == 0 for fraction in largest.values())
    if n_empty:
        yield f"{n_empty} of {counted(len(largest), 'patient')} have no lesion in any slice. Are their masks whole?"
