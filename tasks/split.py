"""Prefect task that splits a source into train, val and test."""

from prefect import task

from tasks.core.catalog import Split
from tasks.core.config.preparation import PreparationConfig
from tasks.core.errors import ConfigError
from tasks.core.handles import SourceHandle
from tasks.core.splits import split_patients
from tasks.io.outputs import datasets
from tasks.io.source_tables import publish_splits, read_patients, split_fingerprint
from tasks.runtime.retries import STORAGE_RETRIES


@task(name="split", **STORAGE_RETRIES)
def split(source: SourceHandle, dataset: str, preparation: PreparationConfig) -> SourceHandle:
    """Assign every patient to a split, keeping the assignments of an earlier dataset at that URI.

    With `strategy: slice`, slices are assigned instead, by their keys, when they are prepared.
    """
    patients = read_patients(source.uri)
    splits: dict[str, Split] = {}
    if preparation.strategy == "patient":
        splits = split_patients(
            {row.patient_id: row.source for row in patients},
            fractions=preparation.fractions,
            seed=preparation.seed,
            # a patient who was known by a hashed id before keeps the split of it
            earlier={row.patient_id: row.split for row in patients if row.split} | _earlier_splits(dataset),
        )
    publish_splits(source.uri, [row.model_copy(update={"split": splits.get(row.patient_id)}) for row in patients])
    return source.model_copy(update={"fingerprint": split_fingerprint(source.fingerprint, splits)})


def _earlier_splits(dataset: str) -> dict[str, Split]:
    earlier = datasets.find_card(dataset)
    if earlier is None:
        return {}
    if earlier.preparation.strategy != "patient":
        raise ConfigError(
            f"{dataset} holds a dataset split by slice; prepare the one split by patient in another folder."
        )
    return earlier.assignments
