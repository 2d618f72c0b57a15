"""Parameters of a training: network and optimisation.

The reasons for the defaults: infra/decisions/0006 and 0014.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tasks.core.catalog import Architecture, IntensityRule, Loss, OperatingRule, Precision, backbone_named
from tasks.core.config.forms import FormModel
from tasks.core.errors import ConfigError


def _is_known_backbone(name: str) -> str:
    try:
        backbone_named(name)
    except ConfigError as err:
        raise ValueError(str(err)) from err
    return name


def _none_if_empty(value: object) -> object:
    return None if value == "" else value  # a form's field that was cleared


BackboneName = Annotated[str, AfterValidator(_is_known_backbone)]


class ModelConfig(FormModel):
    """Network and initial weights."""

    architecture: Architecture = Field(
        "unet",
        title="Architecture",
        description="Network architecture (type of decoder), as named in segmentation-models.",
    )
    backbone: BackboneName = Field(
        "efficientnetlite0",
        title="Backbone",
        description="Encoder of the network: efficientnetlite0 (light), or resnet18, resnet34 or resnet50.",
    )
    decoder_filters: int = Field(
        128,
        title="Decoder width (filters)",
        ge=16,
        le=1024,
        multiple_of=16,
        description="Filters of the decoder's first block, halved block by block down to 16; of an fpn, those of every "
        "level. A linknet uses it in its last block only.",
    )
    encoder_weights: str = Field(
        "imagenet",
        title="Encoder weights",
        description="Initial weights of the encoder: imagenet, none (random), or the URI of an .h5 file. imagenet is "
        "installed for efficientnetlite0, and downloaded from GitHub for the others.",
    )
    encoder_weights_sha256: str | None = Field(
        None,
        title="SHA-256 of the encoder weights",
        pattern="^[0-9a-f]{64}$",
        description="Expected SHA-256 of the .h5 file. Empty = the file must be the published ImageNet weights, which "
        "exist for the resnets.",
    )
    intensity_rule: IntensityRule = Field(
        "landmarks",
        title="Intensity rule",
        description="Mapping of 8-bit slices to the network's input. landmarks: lung and soft tissue of each slice get "
        "fixed values; slice_8bit: values unchanged.",
    )
    slice_statistics: float = Field(
        0.2,
        title="Per-slice statistics (fraction)",
        ge=0,
        le=1,
        description="Weight of per-slice statistics in the encoder's BatchNorm at inference, fraction (0 = moving "
        "averages only). Higher values help on scanners unlike the training data.",
    )
    start_from: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        None,
        title="Start from (URI)",
        description="URI of a bundle to fine-tune, with the same architecture, backbone and decoder width. Empty = "
        "start from the encoder weights.",
    )


class TrainingConfig(FormModel):
    """Optimisation, ensemble and workers of a training."""

    epochs: int | None = Field(
        None,
        title="Epochs",
        ge=1,
        le=10_000,
        description="Largest number of passes over the training slices. Empty = 16, and on small datasets as many as "
        "give 900 steps.",
    )
    batch_size: int = Field(
        16,
        title="Batch size (slices)",
        ge=1,
        le=4096,
        description="Slices per optimisation step, over all workers together.",
    )
    lesion_free_fraction: float = Field(
        0.25,
        title="Lesion-free slices (fraction)",
        ge=0,
        le=1,
        description="Fraction of the lesion-free training slices used per epoch, drawn at random for each epoch.",
    )
    loss: Loss = Field(
        "bce_dice",
        title="Loss",
        description="Loss function: bce (binary cross-entropy), dice, bce_dice (their sum), or bce_tversky (missed "
        "lesion weighs more than false lesion).",
    )
    lung_weight: float = Field(
        0.5,
        title="Weight of the lung loss",
        ge=0,
        le=10,
        description="Weight of the loss of the second output, the lungs, where the dataset has lung masks. 0 = lesions "
        "only.",
    )
    learning_rate: float = Field(1e-3, title="Learning rate", gt=0, le=1, description="Peak learning rate of Adam.")
    schedule: Literal["warmup_cosine", "reduce_on_plateau"] = Field(
        "warmup_cosine",
        title="Learning rate schedule",
        description="warmup_cosine: rises over half an epoch, then falls to zero. reduce_on_plateau: multiplied by 0.1 "
        "after `patience`/2 epochs without a better validation loss.",
    )
    patience: int = Field(
        10,
        title="Patience (epochs)",
        ge=1,
        description="Epochs to wait for a better validation Dice before training stops early. Cross-validation never "
        "stops early.",
    )
    threshold: float | None = Field(
        None,
        title="Threshold (probability)",
        gt=0,
        lt=1,
        description="Smallest probability at which a pixel is labelled lesion; stored in the bundle. Empty = chosen on "
        "the validation patients.",
    )
    operating_point: OperatingRule = Field(
        "best_dice",
        title="Operating point",
        description="Rule that chooses the threshold on the validation patients. best_dice and best_f_beta balance "
        "misses and false lesions; the others keep a limit.",
    )
    operating_value: float | None = Field(
        None,
        title="Value of the operating point",
        gt=0,
        le=1000,
        description="Beta of best_f_beta (2), least mean precision or recall (0.8), most false lesions per scan "
        "(2), or most missed lesion as a fraction (0.2). Empty = the value in brackets.",
    )
    operating_confidence: float = Field(
        0.9,
        title="Confidence of the operating point",
        gt=0.5,
        lt=1,
        description="Probability with which a new patient stays below max_false_negative_rate. n validation patients "
        "support n/(n+1) at most.",
    )
    z_smoothing: bool = Field(
        True,
        title="Smoothing along z",
        description="Average the probabilities of each slice with those of its neighbours in the scan (weights 0.1, "
        "0.2, 0.4, 0.2, 0.1); stored in the bundle. Single slices stay as they are.",
    )
    test_time_flips: bool | None = Field(
        False,
        title="Test-time flips",
        description="Average the predictions of each slice and its mirror images (test-time augmentation), at up to 4 "
        "times the computation. Empty = decided on the validation patients.",
    )
    freeze_batchnorm: bool = Field(
        False,
        title="Freeze BatchNorm",
        description="Keep BatchNorm's moving averages and weights at their initial values. Requires model.start_from.",
    )
    num_workers: int = Field(
        1,
        title="Workers",
        ge=1,
        description="Number of Ray Train workers; each takes an equal share of every batch. Training continues with "
        "fewer if the cluster loses nodes.",
    )
    gpus_per_worker: int = Field(
        0, title="GPUs per worker", ge=0, le=16, description="Number of GPUs per worker. 0 = train on CPUs."
    )
    folds: int = Field(
        1,
        title="Folds",
        ge=1,
        le=20,
        description="Number of folds of a cross-validation over all patients; the bundle averages one network per "
        "fold. 1 = a single network on the train split.",
    )
    max_restarts: int = Field(
        3,
        title="Restarts",
        ge=0,
        description="Maximum number of restarts from the last checkpoint after a worker has died.",
    )
    node_wait_minutes: float = Field(
        10.0,
        title="Wait for capacity (min)",
        ge=0,
        description="Minutes to wait for cluster capacity. At start-up the run fails after this; after losing a node "
        "it continues with fewer workers.",
    )
    stall_minutes: float = Field(
        15.0,
        title="Stall timeout (min)",
        ge=0.2,
        description="Minutes an optimisation step may take before its worker counts as stalled and is restarted. "
        "Compilation and validation may take 4 times as long, the last validation 16 times.",
    )
    precision: Precision = Field(
        "auto",
        title="Precision",
        description="Floating-point type of the computation: auto (float16 on GPUs, bfloat16 on CPUs with AMX or "
        "AVX512-BF16, else float32), float32, bfloat16, or float16 (GPUs only).",
    )
    seed: int = Field(
        0, title="Seed", ge=0, description="Seed of the random weights, the order of slices and the augmentation."
    )

    @model_validator(mode="after")
    def _fits_its_workers(self) -> Self:
        n_shares = self.num_workers * max(1, self.gpus_per_worker)
        if self.batch_size % n_shares:
            raise ValueError(
                f"batch_size is {self.batch_size}, the global batch; it must be a multiple of num_workers "
                f"{self.num_workers} times the devices of each, {n_shares} in all."
            )
        if self.precision == "float16" and not self.gpus_per_worker:
            raise ValueError(
                "precision is float16, which only GPUs have, and gpus_per_worker is 0. "
                "Set it to 1, or the precision to auto."
            )
        return self

    @model_validator(mode="after")
    def _does_not_learn_from_the_held_out(self) -> Self:
        if self.folds > 1 and self.schedule == "reduce_on_plateau":
            raise ValueError(
                "With folds, the held-out patients must not control the learning rate, as they do in "
                "reduce_on_plateau. Set schedule to warmup_cosine."
            )
        return self

    @model_validator(mode="after")
    def _has_a_value_of_its_rule(self) -> Self:
        is_fraction = self.operating_point in {"min_precision", "min_recall", "max_false_negative_rate"}
        if is_fraction and self.operating_value is not None and self.operating_value >= 1:
            raise ValueError(
                f"operating_value is {self.operating_value:g}; {self.operating_point} takes a fraction below 1. "
                "For 80 % set 0.8."
            )
        return self

    @property
    def n_gpus(self) -> int:
        """GPUs of all workers."""
        return self.num_workers * self.gpus_per_worker


def require_start(model: ModelConfig, training: TrainingConfig) -> None:
    """Refuse initial weights that contradict other parameters of the training.

    Raises:
        ConfigError: Saying what to set.
    """
    if training.freeze_batchnorm and model.start_from is None:
        raise ConfigError(
            "training.freeze_batchnorm keeps the moving averages a network starts with; its decoder has some only if "
            "it starts from a bundle. Set model.start_from."
        )
    if training.folds > 1 and model.start_from is not None:
        raise ConfigError(
            "With training.folds every patient is held out once, but the bundle in model.start_from was trained on "
            "some of them. Empty model.start_from, or set training.folds to 1."
        )
