"""Flow: labelled slices become a dataset."""

from prefect import flow

from tasks.core.config.compute import ComputeConfig
from tasks.core.config.preparation import PreparationConfig
from tasks.core.handles import DatasetHandle
from tasks.discover import discover
from tasks.io.outputs.ownership import require_ours
from tasks.preprocess import preprocess
from tasks.runtime.addresses import locate
from tasks.runtime.cancellation import stop_jobs
from tasks.runtime.completeness import require_complete
from tasks.split import split


@flow(name="prepare-dataset", on_cancellation=[stop_jobs])
def prepare_dataset(
    source: str,
    dataset: str,
    *,
    preparation: PreparationConfig = PreparationConfig(),
    compute: ComputeConfig = ComputeConfig(),
) -> DatasetHandle:
    """Turn labelled slices into a dataset, split by patient.

    Writes shards, cases.parquet, failures.parquet and, last, dataset.json. Running it again changes nothing while the
    source is unchanged; new patients join without moving anybody to another side. Ends incomplete if a slice was set
    aside.

    Args:
        source: URI with frames/ and masks/, images/ and masks/, or an index.csv.
        dataset: URI the dataset is written to.
        preparation: Size, split and mask rule.
        compute: Where the work runs.
    """
    source, dataset = locate(source), locate(dataset)
    require_ours(dataset, "dataset")
    prepared = prepare_steps(source, dataset, preparation=preparation, compute=compute)
    require_complete(dataset=prepared)
    return prepared


def prepare_steps(
    source: str, dataset: str, *, preparation: PreparationConfig, compute: ComputeConfig
) -> DatasetHandle:
    """Run the steps of preparation inside the calling flow."""
    discovered = discover(source, dataset, preparation)
    assigned = split(discovered, dataset, preparation)
    return preprocess(assigned, source, dataset, preparation, compute)
