"""Flow that trains a model bundle on a dataset."""

from prefect import flow

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.handles import ModelHandle
from tasks.io.outputs.ownership import require_ours
from tasks.runtime.addresses import locate
from tasks.runtime.cancellation import stop_jobs
from tasks.runtime.inputs import require_inputs
from tasks.runtime.run_names import training_name
from tasks.train import train, training_request


@flow(
    name="train-model",
    flow_run_name=training_name,
    on_cancellation=[stop_jobs],
)
def train_model(
    dataset: str,
    model_uri: str,
    *,
    model: ModelConfig = ModelConfig(),
    training: TrainingConfig = TrainingConfig(),
    augment: AugmentConfig = AugmentConfig(),
    compute: ComputeConfig = ComputeConfig(),
) -> ModelHandle:
    """Train a network and publish it as a bundle: weights, card, history, curves and a self-test.

    Keeps the weights of the epoch with the best validation Dice (mean over patients). Chooses the operating point
    (threshold and test-time flips) on the same patients. Cross-validation keeps the last epoch and chooses the
    operating point on the held-out patients. Running it again continues a killed run; after a finished run, it
    trains a new bundle and replaces the old one.

    Args:
        dataset: URI of a prepared dataset.
        model_uri: URI to write the bundle to.
        model: Network and initial weights.
        training: Optimisation, ensemble and workers.
        augment: Random augmentation of training slices.
        compute: This machine or a Ray cluster.
    """
    asked = training_request(locate(dataset), locate(model_uri), model=model, training=training, augment=augment)
    require_ours(asked.model_uri, "bundle")
    require_inputs(compute, dataset=asked.dataset_uri, model_uri=asked.model.start_from)
    return train(asked, compute=compute)
