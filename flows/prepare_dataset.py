"""Flow that prepares a dataset from labelled slices or volumes."""

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
from tasks.runtime.inputs import require_inputs
from tasks.runtime.run_names import preparation_name
from tasks.split import split


@flow(
    name="prepare-dataset",
    flow_run_name=preparation_name,
    on_cancellation=[stop_jobs],
)
def prepare_dataset(
    source: str,
    dataset: str,
    *,
    preparation: PreparationConfig = PreparationConfig(),
    compute: ComputeConfig = ComputeConfig(),
) -> DatasetHandle:
    """Prepare a dataset from labelled slices or volumes, split by patient.

    Writes shards, cases.parquet, failures.parquet and, last, dataset.json. Running it again changes nothing while the
    source is unchanged; new patients are added, and no patient moves to another split. If a slice is rejected,
    the run publishes the rest and then fails (exit code 3).

    Args:
        source: URI of a folder with frames/ or images/ and masks/, with masks beside images (a_mask beside a), or with
            an index.csv; optional lungs/. It may hold several such folders.
        dataset: URI to write the dataset to.
        preparation: Slice size, split, mask values and CT values.
        compute: This machine or a Ray cluster.
    """
    source, dataset = locate(source), locate(dataset)
    require_ours(dataset, "dataset")
    require_inputs(compute, source=source)
    prepared = prepare_steps(source, dataset, preparation=preparation, compute=compute)
    require_complete(dataset=prepared)
    return prepared


def prepare_steps(
    source: str, dataset: str, *, preparation: PreparationConfig, compute: ComputeConfig
) -> DatasetHandle:
    """Run the steps of the preparation inside the calling flow."""
    discovered = discover(source, dataset, preparation)
    assigned = split(discovered, dataset, preparation)
    return preprocess(assigned, source, dataset, preparation, compute)
