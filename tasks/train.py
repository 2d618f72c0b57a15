"""Prefect task that trains a bundle."""

from prefect.artifacts import create_table_artifact

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig, require_start
from tasks.core.credentials import require_no_credentials
from tasks.core.errors import ConfigError
from tasks.core.handles import ModelHandle
from tasks.core.step_inputs import TrainRequest
from tasks.engine.jobs.dispatch import run_step
from tasks.io.outputs import bundles
from tasks.runtime.addresses import locate
from tasks.runtime.live_line import progress_reporter
from tasks.runtime.run_logging import flow_run_id, logging_to_prefect
from tasks.runtime.slots import gpu_step


@gpu_step(name="train")
def train(request: TrainRequest, *, compute: ComputeConfig) -> ModelHandle:
    """Train on Ray workers and publish the bundle."""
    uri = request.model_uri
    with logging_to_prefect():
        handle = run_step(
            "train",
            request,
            ModelHandle,
            compute=compute,
            output_uri=uri,
            flow_run_id=flow_run_id(),
            report_progress=progress_reporter("train"),
        )
    create_table_artifact(bundles.read_history(uri), key="training-history", description="One row per epoch.")
    return handle


def training_request(
    dataset_uri: str, model_uri: str, *, model: ModelConfig, training: TrainingConfig, augment: AugmentConfig
) -> TrainRequest:
    """Return the input of the training step, for URIs with scheme.

    Raises:
        ConfigError: If parameters contradict each other, or an address holds credentials; the message has the
            remedy.
    """
    start_from = locate(model.start_from) if model.start_from else None
    require_no_credentials(model.encoder_weights)
    require_start(model, training)
    if start_from == model_uri:
        raise ConfigError(f"model.start_from is {start_from}, where the new bundle is to be. Write it elsewhere.")
    return TrainRequest(
        dataset_uri=dataset_uri,
        model_uri=model_uri,
        model=model.model_copy(update={"start_from": start_from}),
        training=training,
        augment=augment,
    )
