"""Flow that prepares a dataset, trains and evaluates a bundle, and segments new scans with it."""

from prefect import flow

from flows.prepare_dataset import prepare_steps
from tasks.core.catalog import Scored
from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.evaluation import EvaluationConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.config.preparation import PreparationConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.handles import EvaluationHandle
from tasks.engine.cluster.session import session
from tasks.evaluate import evaluate, evaluation_request, require_comparable
from tasks.io.outputs.ownership import require_ours
from tasks.runtime.addresses import below, locate
from tasks.runtime.cancellation import stop_jobs
from tasks.runtime.completeness import require_complete, require_enough
from tasks.runtime.inputs import require_inputs
from tasks.runtime.run_names import pipeline_name
from tasks.segment import segment, segmentation_request
from tasks.train import train, training_request


@flow(name="run-pipeline", flow_run_name=pipeline_name, on_cancellation=[stop_jobs])
def run_pipeline(
    source: str,
    out: str,
    scans: str | None = None,
    *,
    preparation: PreparationConfig = PreparationConfig(),
    model: ModelConfig = ModelConfig(),
    training: TrainingConfig = TrainingConfig(),
    augment: AugmentConfig = AugmentConfig(),
    evaluation: EvaluationConfig = EvaluationConfig(),
    segmentation: SegmentationConfig = SegmentationConfig(),
    compute: ComputeConfig = ComputeConfig(),
) -> EvaluationHandle:
    """Prepare a dataset, train and evaluate a model and, if `scans` is given, segment these scans with it.

    Writes `out`/dataset, `out`/model, `out`/evaluation and, with `scans`, `out`/segmentation. If slices
    are rejected, the run finishes all steps and then fails (exit code 3). If more than `max_failed_fraction` are, it
    fails before training.

    Args:
        source: URI of a folder with frames/ or images/ and masks/, with masks beside images (a_mask beside a), or with
            an index.csv; optional lungs/. It may hold several such folders.
        out: URI of the folder for all outputs.
        scans: URI of a folder with new scans. Empty = segment nothing.
        preparation: Slice size, split, mask values and CT values.
        model: Network and initial weights.
        training: Optimisation, ensemble and workers.
        augment: Random augmentation of training slices.
        evaluation: Earlier evaluation to compare with.
        segmentation: Operating point, outputs, and which scans are segmented again.
        compute: This machine or a Ray cluster.
    """
    source, out, scans = locate(source), locate(out), locate(scans) if scans else None
    dataset_uri, model_uri, report_uri = (below(out, name) for name in ("dataset", "model", "evaluation"))
    # refuse now what would fail after hours
    to_train = training_request(dataset_uri, model_uri, model=model, training=training, augment=augment)
    split: Scored = "all" if training.folds > 1 else "test"  # each patient, by the network not trained on them
    to_score = evaluation_request(model_uri, dataset_uri, report_uri, split=split, evaluation=evaluation)
    to_segment = None
    if scans:
        output = below(out, "segmentation")
        to_segment = segmentation_request(model_uri, scans, output, segmentation=segmentation, compute=compute)
        require_ours(output, "segmentation")
    require_ours(dataset_uri, "dataset")
    require_ours(model_uri, "bundle")
    require_ours(report_uri, "evaluation")
    require_inputs(compute, source=source, scans=scans, model_uri=to_train.model.start_from)
    # one Ray session for all steps
    with session(compute, n_reserved_cpus=training.num_workers, n_gpus=training.n_gpus, has_dashboard=True):
        dataset = prepare_steps(source, dataset_uri, preparation=preparation, compute=compute)
        require_enough(dataset, max_failed_fraction=preparation.max_failed_fraction)
        require_comparable(to_score)
        train(to_train, compute=compute)
        scored = evaluate(to_score, compute=compute)
        segmented = segment(to_segment, compute=compute) if to_segment else None
    require_complete(dataset=dataset, evaluation=scored, segmentation=segmented)
    return scored
