"""Prefect task that splits a source into train, val and test."""

from prefect import task

from tasks.core.catalog import Split
from tasks.core.config.preparation import PreparationConfig
from tasks.core.digests import digest
from tasks.core.errors import ConfigError
from tasks.core.handles import SourceHandle
from tasks.core.splits import split_patients
from tasks.io.outputs import datasets
from tasks.runtime.retries import STORAGE_RETRIES


@task(name="split", **STORAGE_RETRIES)
def split(source: SourceHandle, dataset: str, preparation: PreparationConfig) -> SourceHandle:
    """Assign every patient to a split, keeping the assignments of an earlier dataset at that URI.

    With `strategy: slice`, slices are assigned instead, by their keys, when they are prepared.
    """
    assignments = _assign(source, dataset, preparation) if preparation.strategy == "patient" else {}
    fingerprint = digest(source=source.fingerprint, assignments=sorted(assignments.items()))
    return source.model_copy(update={"fingerprint": fingerprint, "assignments": assignments})


def _assign(source: SourceHandle, dataset: str, preparation: PreparationConfig) -> dict[str, Split]:
    earlier = datasets.find_card(dataset)
    if earlier is not None and earlier.preparation.strategy != "patient":
        raise ConfigError(
            f"{dataset} holds a dataset split by slice; prepare the one split by patient in another folder."
        )
    return split_patients(
        source.patients,
        fractions=preparation.fractions,
        seed=preparation.seed,
        earlier=earlier.assignments if earlier else None,
    )
