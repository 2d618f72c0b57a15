"""Flow: a dataset becomes a model bundle."""

from prefect import flow

from tasks.core.config.compute import ComputeConfig
from tasks.core.config.learning import AugmentConfig, ModelConfig, TrainingConfig
from tasks.core.handles import ModelHandle
from tasks.io.outputs import datasets
from tasks.io.outputs.ownership import require_ours
from tasks.runtime.addresses import locate
from tasks.runtime.cancellation import stop_jobs
from tasks.train import train, training_request


@flow(name="train-model", on_cancellation=[stop_jobs])
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

    The best epoch by mean validation Dice per patient is kept, and the operating point is chosen on the same patients;
    with folds the last epoch is kept, and those held out choose. Running it again goes on where a killed run was;
    after a finished one it trains anew and replaces the bundle.

    Args:
        dataset: URI of a prepared dataset.
        model_uri: URI the bundle is written to.
        model: Network and its first weights.
        training: Optimisation.
        augment: Random changes to training slices.
        compute: Where the work runs.
    """
    asked = training_request(locate(dataset), locate(model_uri), model=model, training=training, augment=augment)
    datasets.read_card(asked.dataset_uri)  # a wrong address is refused before a cluster starts
    require_ours(asked.model_uri, "bundle")
    return train(asked, compute=compute)
