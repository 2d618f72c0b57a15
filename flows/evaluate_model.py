"""Flow that evaluates a bundle on one split of a dataset."""

from prefect import flow

from tasks.core.catalog import Scored
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.evaluation import EvaluationConfig
from tasks.core.handles import EvaluationHandle
from tasks.evaluate import evaluate, evaluation_request, require_comparable
from tasks.io.outputs.ownership import require_ours
from tasks.runtime.addresses import locate
from tasks.runtime.cancellation import stop_jobs
from tasks.runtime.completeness import require_complete
from tasks.runtime.inputs import require_inputs
from tasks.runtime.run_names import evaluation_name


@flow(
    name="evaluate-model",
    flow_run_name=evaluation_name,
    on_cancellation=[stop_jobs],
)
def evaluate_model(
    model_uri: str,
    dataset: str,
    report: str,
    *,
    split: Scored = "test",
    evaluation: EvaluationConfig = EvaluationConfig(),
    compute: ComputeConfig = ComputeConfig(),
) -> EvaluationHandle:
    """Evaluate a bundle on one split and publish metrics.json, report.html and figures.

    Pixels are counted on the grid of the source images. Running it again replaces the report.

    Args:
        model_uri: URI of a bundle.
        dataset: URI of a prepared dataset.
        report: URI to write the report to.
        split: Patients to score: train, val, test or all. An ensemble scores each patient with the network that was
            not trained on them.
        evaluation: Earlier evaluation to compare with.
        compute: This machine or a Ray cluster.
    """
    model_uri, dataset, report = locate(model_uri), locate(dataset), locate(report)
    require_ours(report, "evaluation")
    require_inputs(compute, model_uri=model_uri, dataset=dataset)
    asked = evaluation_request(model_uri, dataset, report, split=split, evaluation=evaluation)
    require_comparable(asked)
    scored = evaluate(asked, compute=compute)
    require_complete(evaluation=scored)
    return scored
