"""Prefect task that writes a dataset."""

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.core.config.compute import ComputeConfig
from tasks.core.config.preparation import PreparationConfig
from tasks.core.handles import DatasetHandle, SourceHandle
from tasks.core.pages.artifacts import dataset_markdown, failures_markdown
from tasks.core.step_inputs import PrepareRequest
from tasks.engine.jobs.dispatch import run_step
from tasks.io.outputs import datasets
from tasks.runtime.live_line import progress_reporter
from tasks.runtime.retries import STORAGE_RETRIES
from tasks.runtime.run_logging import flow_run_id, logging_to_prefect


@task(name="preprocess", **STORAGE_RETRIES)
def preprocess(
    split_source: SourceHandle, source: str, dataset: str, preparation: PreparationConfig, compute: ComputeConfig
) -> DatasetHandle:
    """Check and resize every slice and write shards, unless the same dataset already exists."""
    card = datasets.find_card(dataset)
    if card is not None and card.fingerprint == split_source.fingerprint:
        handle = datasets.handle_of(card, dataset)
    else:
        request = PrepareRequest(source=split_source, source_uri=source, dataset_uri=dataset, preparation=preparation)
        with logging_to_prefect():
            handle = run_step(
                "prepare",
                request,
                DatasetHandle,
                compute=compute,
                output_uri=dataset,
                flow_run_id=flow_run_id(),
                report_progress=progress_reporter("prepare"),
            )
    card, failures = datasets.read_card(dataset), datasets.read_failures(dataset)
    create_markdown_artifact(dataset_markdown(card), key="dataset", description="Patients and slices by split.")
    create_markdown_artifact(
        failures_markdown("Rejected slices", failures, n_all=card.n_slices + len(failures)),
        key="dataset-failures",
        description="Rejected slices, by reason.",
    )
    return handle
