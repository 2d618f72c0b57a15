"""Flow: the whole mission, from labelled slices to a scored bundle, and on to new scans."""

from prefect import flow

from flows.prepare_dataset import prepare_steps
from tasks.core.catalog import Scored
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.learning import AugmentConfig, ModelConfig, TrainingConfig
from tasks.core.config.preparation import PreparationConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.handles import EvaluationHandle
from tasks.engine.cluster.session import session
from tasks.evaluate import evaluate
from tasks.io import storage
from tasks.io.outputs.ownership import require_ours
from tasks.runtime.addresses import locate
from tasks.runtime.cancellation import stop_jobs
from tasks.runtime.completeness import require_complete, require_enough
from tasks.segment import segment, segmentation_request
from tasks.train import train, training_request


@flow(name="run-pipeline", on_cancellation=[stop_jobs])
def run_pipeline(
    source: str,
    out: str,
    scans: str | None = None,
    *,
    preparation: PreparationConfig = PreparationConfig(),
    model: ModelConfig = ModelConfig(),
    training: TrainingConfig = TrainingConfig(),
    augment: AugmentConfig = AugmentConfig(),
    segmentation: SegmentationConfig = SegmentationConfig(),
    compute: ComputeConfig = ComputeConfig(),
) -> EvaluationHandle:
    """Prepare, train and evaluate; with `scans`, also segment them with the new model.

    Writes `out`/dataset, `out`/model, `out`/evaluation and, with `scans`, `out`/segmentation. Slices that fail up to
    `max_failed_fraction` do not stop it, but it ends incomplete; beyond, it stops after preparation.

    Args:
        source: URI with frames/ and masks/, images/ and masks/, or an index.csv.
        out: URI everything is written below.
        scans: URI below which new scans lie; empty segments nothing.
        preparation: Size, split and mask rule.
        model: Network and its first weights.
        training: Optimisation.
        augment: Random changes to training slices.
        segmentation: Operating point and what is done again.
        compute: Where the work runs.
    """
    source, out, scans = locate(source), locate(out), locate(scans) if scans else None
    dataset_uri, model_uri, report_uri = (storage.join(out, name) for name in ("dataset", "model", "evaluation"))
    # what cannot work is refused now rather than after hours
    to_train = training_request(dataset_uri, model_uri, model=model, training=training, augment=augment)
    to_segment = None
    if scans:
        output = storage.join(out, "segmentation")
        to_segment = segmentation_request(model_uri, scans, output, segmentation=segmentation, compute=compute)
        require_ours(output, "segmentation")
    require_ours(dataset_uri, "dataset")
    require_ours(model_uri, "bundle")
    require_ours(report_uri, "evaluation")
    # one for all steps, which find it running
    with session(compute, n_reserved_cpus=training.num_workers, n_gpus=training.n_gpus, has_dashboard=True):
        dataset = prepare_steps(source, dataset_uri, preparation=preparation, compute=compute)
        require_enough(dataset, max_failed_fraction=preparation.max_failed_fraction)
        train(to_train, compute=compute)
        # of cross-validation everyone is scored, by the network that never saw them
        scored: Scored = "all" if training.folds > 1 else "test"
        evaluation = evaluate(model_uri, dataset_uri, report_uri, split=scored, compute=compute)
        segmented = segment(to_segment, compute=compute) if to_segment else None
    require_complete(dataset=dataset, evaluation=evaluation, segmentation=segmented)
    return evaluation
