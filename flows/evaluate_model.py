"""Flow: a bundle is scored on patients it has not seen."""

from prefect import flow

from tasks.core.catalog import Scored
from tasks.core.config.compute import ComputeConfig
from tasks.core.handles import EvaluationHandle
from tasks.evaluate import evaluate
from tasks.io.outputs.ownership import require_ours
from tasks.runtime.addresses import locate
from tasks.runtime.cancellation import stop_jobs
from tasks.runtime.completeness import require_complete


@flow(name="evaluate-model", on_cancellation=[stop_jobs])
def evaluate_model(
    model_uri: str, dataset: str, report: str, *, split: Scored = "test", compute: ComputeConfig = ComputeConfig()
) -> EvaluationHandle:
    """Score a bundle on one split and publish metrics.json, report.html and figures.

    Counts are taken on the source's own pixel grid. Running it again replaces the report.

    Args:
        model_uri: URI of a bundle.
        dataset: URI of a prepared dataset.
        report: URI the report is written to.
        split: Which patients: train, val, test or all. Of an ensemble, those it was trained on are scored by the
            network that never saw them.
        compute: Where the work runs.
    """
    model_uri, dataset, report = locate(model_uri), locate(dataset), locate(report)
    require_ours(report, "evaluation")
    scored = evaluate(model_uri, dataset, report, split=split, compute=compute)
    require_complete(evaluation=scored)
    return scored
