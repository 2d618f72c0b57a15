"""Prefect task that evaluates a bundle."""

import json

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.core.catalog import Scored
from tasks.core.config.compute import ComputeConfig
from tasks.core.evaluation_page import evaluation_markdown
from tasks.core.handles import EvaluationHandle
from tasks.core.step_inputs import EvaluateRequest
from tasks.engine.jobs.dispatch import run_step
from tasks.io.outputs import evaluations
from tasks.runtime.retries import STORAGE_RETRIES
from tasks.runtime.run_logging import flow_run_id, logging_to_prefect
from tasks.runtime.slots import gpu_step


@gpu_step(name="evaluate", **STORAGE_RETRIES)
def evaluate(
    model_uri: str, dataset_uri: str, report_uri: str, *, split: Scored, compute: ComputeConfig
) -> EvaluationHandle:
    """Score the bundle on a split and publish metrics and report."""
    request = EvaluateRequest(model_uri=model_uri, dataset_uri=dataset_uri, report_uri=report_uri, split=split)
    with logging_to_prefect():
        handle = run_step(
            "evaluate",
            request,
            EvaluationHandle,
            compute=compute,
            output_uri=report_uri,
            flow_run_id=flow_run_id(),
        )
    report = evaluations.read_metrics(report_uri)
    create_markdown_artifact(
        evaluation_markdown(report), key="evaluation", description="Metrics, pooled and per patient."
    )
    create_table_artifact(
        json.loads(json.dumps(report.per_patient)), key="evaluation-patients", description="Metrics per patient."
    )
    return handle
