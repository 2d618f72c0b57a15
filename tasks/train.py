"""Step: train a bundle."""

from prefect import task
from prefect.artifacts import create_table_artifact

from tasks.core.compute import ComputeConfig
from tasks.core.learning import AugmentConfig, ModelConfig, TrainingConfig
from tasks.core.refs import DatasetRef, ModelRef
from tasks.core.requests import TrainRequest
from tasks.engine.execution import run_step
from tasks.io import bundles
from tasks.narrate import flow_run_id, narrated
from tasks.retries import GPU_TAG


@task(name="train", tags={GPU_TAG})
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
    with narrated():
        ref = run_step("train", request, ModelRef, compute=compute, output_uri=model_uri, flow_run_id=flow_run_id())
    create_table_artifact(bundles.read_history(model_uri), key="training-history", description="One row an epoch.")
    return ref
