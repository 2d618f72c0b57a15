"""Prefect task that trains a bundle."""

from prefect.artifacts import create_table_artifact

from tasks.core.config.compute import ComputeConfig
from tasks.core.config.learning import AugmentConfig, ModelConfig, TrainingConfig
from tasks.core.credentials import require_no_credentials
from tasks.core.errors import ConfigError
from tasks.core.handles import ModelHandle
from tasks.core.step_inputs import TrainRequest
from tasks.engine.jobs.dispatch import run_step
from tasks.io.outputs import bundles
from tasks.runtime.addresses import locate
from tasks.runtime.run_logging import flow_run_id, logging_to_prefect
from tasks.runtime.slots import gpu_step


@gpu_step(name="train")
def train(request: TrainRequest, *, compute: ComputeConfig) -> ModelHandle:
    """Train on Ray workers and publish the bundle."""
    uri = request.model_uri
    with logging_to_prefect():
        ref = run_step("train", request, ModelHandle, compute=compute, output_uri=uri, flow_run_id=flow_run_id())
    create_table_artifact(bundles.read_history(uri), key="training-history", description="One row per epoch.")
    return ref


def training_request(
    dataset_uri: str, model_uri: str, *, model: ModelConfig, training: TrainingConfig, augment: AugmentConfig
) -> TrainRequest:
    """Return the input of the training step, for URIs with scheme.

    Raises:
        ConfigError: If parameters contradict each other, or an address holds credentials; the message says what to
            set.
    """
    start_from = locate(model.start_from) if model.start_from else None
    require_no_credentials(model.encoder_weights)
    n_shares = training.num_workers * max(1, training.gpus_per_worker)
    if training.batch_size % n_shares:
        raise ConfigError(
            f"batch_size is {training.batch_size}, the global batch; it must be a multiple of num_workers "
            f"{training.num_workers} times the devices of each, {n_shares} in all."
        )
    if training.precision == "float16" and not training.gpus_per_worker:
        raise ConfigError(
            "training.precision is float16, which only GPUs have, and training.gpus_per_worker is 0. "
            "Set it to 1, or the precision to bfloat16 or float32."
        )
    if training.freeze_batchnorm and start_from is None:
        raise ConfigError(
            "freeze_batchnorm keeps the moving averages a network starts with; its decoder has some only if it starts "
            "from a bundle. Set model.start_from."
        )
    if start_from == model_uri:
        raise ConfigError(f"model.start_from is {start_from}, where the new bundle is to be. Write it elsewhere.")
    if training.folds > 1 and start_from is not None:
        raise ConfigError(
            "With training.folds every patient is held out once, but the bundle in model.start_from was trained on "
            "some of them. Empty model.start_from, or set training.folds to 1."
        )
    if training.folds > 1 and training.schedule == "reduce_on_plateau":
        raise ConfigError(
            "With training.folds the held-out patients must not control the learning rate, as they do in "
            "reduce_on_plateau. Set training.schedule to warmup_cosine."
        )
    return TrainRequest(
        dataset_uri=dataset_uri,
        model_uri=model_uri,
        model=model.model_copy(update={"start_from": start_from}),
        training=training,
        augment=augment,
    )
