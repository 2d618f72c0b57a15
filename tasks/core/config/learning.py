"""The parameters of a training: what is learned, from which slices, and how.

Why the defaults are what they are: infra/decisions/0006 and 0014.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tasks.core.catalog import Architecture, Loss, Precision, backbone_named
from tasks.core.config.forms import FormModel
from tasks.core.errors import ConfigError


def _is_known_backbone(name: str) -> str:
    try:
        backbone_named(name)
    except ConfigError as err:
        raise ValueError(str(err)) from err
    return name


BackboneName = Annotated[str, AfterValidator(_is_known_backbone)]


class AugmentConfig(FormModel):
    """Random changes to a training slice, image and mask together; zero switches one off.

    Geometric fields are half-ranges: `rotate_degrees=20` draws uniformly from [-20, 20].
    """

    horizontal_flip: float = Field(
        0.5, title="Left-right flip (probability)", ge=0, le=1, description="Probability of a left-right flip."
    )
    vertical_flip: float = Field(
        0.5, title="Up-down flip (probability)", ge=0, le=1, description="Probability of an up-down flip."
    )
    rotate_degrees: float = Field(
        20.0, title="Rotation (degrees)", ge=0, le=180, description="Largest rotation either way, degrees."
    )
    shear_degrees: float = Field(
        5.0, title="Shear (degrees)", ge=0, le=45, description="Largest shear either way, degrees."
    )
    zoom: float = Field(0.15, title="Zoom (fraction)", ge=0, lt=1, description="Largest zoom either way, fraction.")
    shift: float = Field(
        0.1, title="Shift (fraction)", ge=0, lt=1, description="Largest shift either way, fraction of the side."
    )
    brightness: float = Field(
        0.2, title="Brightness (fraction)", ge=0, le=1, description="Largest brightness change, fraction of full scale."
    )
    contrast: float = Field(
        0.2, title="Contrast (fraction)", ge=0, le=1, description="Largest contrast change, fraction."
    )
    noise: float = Field(
        0.02,
        title="Noise (fraction)",
        ge=0,
        le=0.5,
        description="Largest standard deviation of Gaussian noise, fraction of full scale.",
    )


class ModelConfig(FormModel):
    """Which network, and what it starts from."""

    architecture: Architecture = Field("unet", title="Architecture", description="Decoder of segmentation-models.")
    backbone: BackboneName = Field(
        "resnet34", title="Backbone", description="Encoder of segmentation-models, for instance resnet34."
    )
    encoder_weights: str = Field(
        "imagenet",
        title="Encoder weights",
        description="imagenet (downloaded from GitHub), none (random), or the URI of a mirror's .h5 file.",
    )
    encoder_weights_sha256: str | None = Field(
        None,
        title="Encoder weights sha256",
        pattern="^[0-9a-f]{64}$",
        description="Expected sha256 of a mirror's file; empty = it must be the published ImageNet file.",
    )
    slice_statistics: float = Field(
        0.2,
        title="A slice's own statistics (fraction)",
        ge=0,
        le=1,
        description="Fraction that is a slice's own of mean and variance in the encoder's BatchNorm when predicting, "
        "the rest is training's: less is missed in scans unlike those trained on. 0 = none of its own.",
    )
    start_from: str | None = Field(
        None,
        title="Start from (URI)",
        description="URI of a bundle of the same network whose weights it starts from; empty = the encoder weights.",
    )


class TrainingConfig(FormModel):
    """How the network is trained."""

    epochs: int = Field(10, title="Epochs", ge=1, le=10_000, description="Passes over the training slices, at most.")
    batch_size: int = Field(
        16,
        title="Batch size (slices)",
        ge=1,
        le=4096,
        description="Global batch size over all workers, slices.",
    )
    lesion_free_fraction: float = Field(
        0.25,
        title="Lesion-free slices kept (fraction)",
        ge=0,
        le=1,
        description="Fraction of the lesion-free training slices seen each epoch, drawn anew each time.",
    )
    loss: Loss = Field(
        "bce_dice", title="Loss", description="bce (binary cross-entropy), dice, or bce_dice (their sum)."
    )
    learning_rate: float = Field(1e-3, title="Learning rate", gt=0, le=1, description="Peak learning rate of Adam.")
    schedule: Literal["warmup_cosine", "reduce_on_plateau"] = Field(
        "warmup_cosine",
        title="Schedule",
        description="warmup_cosine: up over half an epoch, then down to zero; reduce_on_plateau: x0.1 after "
        "`patience`/2 epochs without a better validation loss.",
    )
    patience: int = Field(
        10,
        title="Patience (epochs)",
        ge=1,
        description="Epochs without a better validation Dice before it stops early; with folds it never does.",
    )
    threshold: float | None = Field(
        None,
        title="Threshold (probability)",
        gt=0,
        lt=1,
        description="Operating threshold of the bundle, probability; empty = chosen on the validation patients.",
    )
    test_time_flips: bool | None = Field(
        None,
        title="Flips when predicting",
        description="Whether the bundle predicts the mirror images of a slice in which it sees anything, too, and "
        "averages: up to four times the work. Empty = if they help the validation patients.",
    )
    freeze_batchnorm: bool = Field(
        False,
        title="Freeze BatchNorm",
        description="BatchNorm keeps the averages and weights it starts with; only with pretrained or warm weights.",
    )
    num_workers: int = Field(
        1,
        title="Workers (count)",
        ge=1,
        description="Ray Train workers, which share each batch evenly, count; fewer after a failure, if a cluster has "
        "no more.",
    )
    gpus_per_worker: int = Field(
        0, title="GPUs per worker (count)", ge=0, le=16, description="GPUs per worker, count; 0 trains on CPUs."
    )
    folds: int = Field(
        1,
        title="Folds (count)",
        ge=1,
        le=20,
        description="1 trains one network; more train one a fold on all patients but the fold's, of every split, keep "
        "the last epoch, and bundle them all: their probabilities are averaged, each at its price, and each patient is "
        "scored by the network that never saw it. Count.",
    )
    max_restarts: int = Field(
        3,
        title="Restarts (count)",
        ge=0,
        description="How often the workers are started again, from the last epoch, after one died, count.",
    )
    node_wait_minutes: float = Field(
        10.0,
        title="Wait for nodes (min)",
        ge=0,
        description="How long room for all workers is waited for, which may start nodes: at the start before it gives "
        "up, after a loss before it goes on with fewer; minutes.",
    )
    stall_minutes: float = Field(
        15.0,
        title="Stall time (min)",
        ge=0.2,
        description="A worker in which no step ends for so long ends itself (compiling and validating have four times "
        "as long, the last validation sixteen times), minutes.",
    )
    precision: Precision = Field(
        "float32",
        title="Precision",
        description="Arithmetic: float32; bfloat16 (CPUs with AMX or AVX512-BF16, GPUs); float16 (GPUs).",
    )
    seed: int = Field(0, title="Seed", ge=0, description="Seed of weights, order and augmentation.")

    @property
    def n_gpus(self) -> int:
        """GPUs of all workers."""
        return self.num_workers * self.gpus_per_worker
