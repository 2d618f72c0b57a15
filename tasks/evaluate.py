"""Prefect task that evaluates a bundle."""

import json

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.core.addresses import shown_uri
from tasks.core.catalog import Scored
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.evaluation import EvaluationConfig
from tasks.core.errors import ConfigError
from tasks.core.handles import EvaluationHandle
from tasks.core.pages.evaluation import evaluation_markdown
from tasks.core.step_inputs import EvaluateRequest
from tasks.engine.jobs.dispatch import run_step
from tasks.io.outputs import datasets, evaluations
from tasks.runtime.addresses import locate
from tasks.runtime.live_line import progress_reporter
from tasks.runtime.retries import STORAGE_RETRIES
from tasks.runtime.run_logging import flow_run_id, logging_to_prefect
from tasks.runtime.slots import gpu_step
from tasks.stages.earlier_evaluation import read_comparable


def evaluation_request(
    model_uri: str, dataset_uri: str, report_uri: str, *, split: Scored, evaluation: EvaluationConfig
) -> EvaluateRequest:
    """Return the input of the evaluation step, for URIs with scheme.

    Raises:
        ConfigError: If there is no earlier evaluation to compare with, or it is of another split.
    """
    compare_with = locate(evaluation.compare_with) if evaluation.compare_with else None
    if compare_with:
        if compare_with.removesuffix(f"/{evaluations.METRICS_FILE}").rstrip("/") == report_uri.rstrip("/"):
            raise ConfigError(
                f"evaluation.compare_with is {shown_uri(compare_with)}, which the new report replaces. "
                "Write it elsewhere."
            )
        earlier = evaluations.read_earlier(compare_with)
        if earlier.split != split:
            raise ConfigError(
                f"evaluation.compare_with is an evaluation on {earlier.split}, this one is on {split}. "
                "Compare with one of the same split."
            )
    return EvaluateRequest(
        model_uri=model_uri, dataset_uri=dataset_uri, report_uri=report_uri, split=split, compare_with=compare_with
    )


def require_comparable(request: EvaluateRequest) -> None:
    """Require that the earlier evaluation, if one is named, is of the patients that will be scored.

    Raises:
        ConfigError: If it is damaged or of other patients, or the dataset is damaged.
    """
    if request.compare_with:
        read_comparable(request, datasets.read_cases(request.dataset_uri))


@gpu_step(name="evaluate", **STORAGE_RETRIES)
def evaluate(request: EvaluateRequest, *, compute: ComputeConfig) -> EvaluationHandle:
    """Score the bundle on a split and publish metrics and report."""
    report_uri = request.report_uri
    with logging_to_prefect():
        handle = run_step(
            "evaluate",
            request,
            EvaluationHandle,
            compute=compute,
            output_uri=report_uri,
            flow_run_id=flow_run_id(),
            report_progress=progress_reporter("evaluate"),
        )
    report = evaluations.read_metrics(report_uri)
    create_markdown_artifact(
        evaluation_markdown(report), key="evaluation", description="Metrics, pooled and per patient."
    )
    create_table_artifact(
        json.loads(json.dumps(report.per_patient)), key="evaluation-patients", description="Metrics per patient."
    )
    return handle
