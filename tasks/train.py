"""Step: train a bundle."""

from prefect import task
from prefect.artifacts import create_table_artifact

from tasks.core.config import AugmentConfig, ComputeConfig, ModelConfig, TrainingConfig
from tasks.core.records import DatasetRef, ModelRef
from tasks.core.requests import TrainRequest
from tasks.engine import cluster
from tasks.engine.steps.train import train as train_bundle
from tasks.io import bundles
from tasks.narrate import narrated


@task(name="train")
def train(
    dataset: DatasetRef,
    model_uri: str,
    *,
    model: ModelConfig,
    training: TrainingConfig,
    augment: AugmentConfig,
    compute: ComputeConfig,
) -> ModelRef:
    """Train on Ray workers and publish the bundle."""
    request = TrainRequest(
        dataset_uri=dataset.uri, model_uri=model_uri, model=model, training=training, augment=augment
    )
    with narrated(), cluster.session(compute, n_reserved_cpus=training.num_workers, has_dashboard=True):
        ref = train_bundle(request)
    create_table_artifact(bundles.read_history(model_uri), key="training-history", description="One row an epoch.")
    return ref
