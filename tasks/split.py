"""Prefect task that splits a source into train, val and test."""

from prefect import task

from tasks.core.config.preparation import PreparationConfig
from tasks.core.errors import ConfigError
from tasks.core.handles import SourceHandle
from tasks.core.rows import SlicePair
from tasks.core.splits import split_patients, split_slices
from tasks.io import sources
from tasks.io.outputs import datasets
from tasks.runtime.retries import STORAGE_RETRIES


@task(name="split", **STORAGE_RETRIES)
def split(source: SourceHandle, dataset: str, preparation: PreparationConfig) -> SourceHandle:
    """Assign every slice to a split, keeping the assignments of an earlier dataset at that URI."""
    pairs = sources.read_pairs(source.uri)
    chosen = (
        _split_by_slice(pairs, preparation)
        if preparation.strategy == "slice"
        else _split_by_patient(pairs, dataset, preparation)
    )
    sources.publish_pairs(source.uri, chosen)
    return source.model_copy(update={"fingerprint": sources.split_fingerprint(source.fingerprint, chosen)})


def _split_by_slice(pairs: list[SlicePair], preparation: PreparationConfig) -> list[SlicePair]:
    keys = [(pair.case_id, pair.slice_index) for pair in pairs]
    sides = split_slices(keys, fractions=preparation.fractions, seed=preparation.seed)
    return [pair.model_copy(update={"split": sides[pair.case_id, pair.slice_index]}) for pair in pairs]


def _split_by_patient(pairs: list[SlicePair], dataset: str, preparation: PreparationConfig) -> list[SlicePair]:
    earlier = datasets.find_card(dataset)
    if earlier is not None and earlier.preparation.strategy != "patient":
        raise ConfigError(
            f"{dataset} holds a dataset split by slice; prepare the one split by patient in another folder."
        )
    sides = split_patients(
        {pair.patient_id: pair.source for pair in pairs},
        fractions=preparation.fractions,
        seed=preparation.seed,
        earlier=earlier.assignments if earlier else None,
    )
    return [pair.model_copy(update={"split": sides[pair.patient_id]}) for pair in pairs]
