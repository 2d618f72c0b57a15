"""The parameters of every flow: one `FormModel` a group, the same in the UI's form, the CLI and YAML.

A field's unit stands in its title (the Prefect form shows it) and in its description (the CLI shows that).
"""

from typing import Literal

from pydantic import Field, model_validator

from tasks.core.catalog import Architecture, Loss, Precision
from tasks.core.compute import ComputeConfig
from tasks.core.forms import BackboneName, FormModel, PatientPattern, StackPattern


class Fractions(FormModel):
    """How much of each source goes where; train gets the rest. A list [train, val, test] is taken too."""

    val: float = Field(
        0.15, title="Validation (fraction)", gt=0, lt=1, description="Fraction of patients for validation."
    )
    test: float = Field(0.15, title="Test (fraction)", gt=0, lt=1, description="Fraction of patients for the test.")

    @property
    def train(self) -> float:
        """Fraction left for training."""
        return 1 - self.val - self.test

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        try:
            parts = [float(part) for part in value]  # a command line hands over text
        except TypeError as err:
            raise ValueError(f"fractions are {list(value)}; numbers are needed.") from err
        if len(parts) != 3 or abs(sum(parts) - 1) > 1e-6:
            raise ValueError(
                f"fractions are {list(value)}; three numbers [train, val, test] that add up to 1 are needed."
            )
        return {"val": parts[1], "test": parts[2]}

    @model_validator(mode="after")
    def _leaves_a_train_set(self) -> "Fractions":
        if self.train < 0.05 - 1e-9:
            raise ValueError(
                f"val {self.val:g} and test {self.test:g} leave {self.train:.2f} for training; leave ≥ 0.05."
            )
        return self


class HuConfig(FormModel):
    """How CT values become the 8 bits the model sees; slices that are 8-bit already are taken as they are."""

    mapping: Literal["window", "slice_min_max"] = Field(
        "window",
        title="Mapping of CT values",
        description="window: level ± width/2; slice_min_max: each slice's own range, for models trained on slices "
        "exported that way.",
    )
    window_level_hu: float = Field(
        -600.0, title="Window level (HU)", ge=-1024, le=3071, description="Centre of the window, HU."
    )
    window_width_hu: float = Field(
        1500.0, title="Window width (HU)", gt=0, le=8192, description="Full width of the window, HU."
    )


class PreparationConfig(FormModel):
    """How labelled slices become a dataset."""

    size_px: int = Field(
        256,
        title="Slice size (px)",
        ge=32,
        le=1024,
        multiple_of=32,
        description="Side of the square the slices are resized to, px; multiple of 32.",
    )
    strategy: Literal["patient", "slice"] = Field(
        "patient",
        title="Split by",
        description="Split by patient, or by slice: the classic random-slice split, which leaks patients.",
    )
    fractions: Fractions = Field(
        Fractions(), title="Split fractions", description="Fractions of patients for val and test."
    )
    mask_rule: Literal["binary", "nonzero"] = Field(
        "binary",
        title="Mask values",
        description="binary: masks hold {0,1}, {0,255} or {0,65535}; nonzero: anything above 0 is lesion.",
    )
    hu: HuConfig = Field(
        HuConfig(),
        title="CT values",
        description="How CT values become the model's input; for slices that are 8-bit already: how they were made, "
        "so that the model can be used on CT volumes.",
    )
    patient_id_pattern: PatientPattern = Field(
        None,
        title="Patient pattern (regular expression)",
        description="Regular expression over the file name without suffix with groups `(?P<patient>)`, "
        "optionally `(?P<case>)` and `(?P<slice>)`; empty = the known public namings.",
    )
    seed: int = Field(0, title="Seed", ge=0, description="Seed of the split.")
    max_failed_fraction: float = Field(
        0.0,
        title="Tolerated failures (fraction)",
        ge=0,
        le=1,
        description="Fraction of failed slices up to which a pipeline goes on after preparation.",
    )


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
    start_from: str | None = Field(
        None,
        title="Start from (URI)",
        description="URI of a bundle of the same network whose weights it starts from; empty = the encoder weights.",
    )


class TrainingConfig(FormModel):
    """How the network is trained."""

    epochs: int = Field(10, title="Epochs", ge=1, le=10_000, description="Passes over the training slices, at most.")
    batch_size: int = Field(
        16, title="Batch size (slices)", ge=1, le=4096, description="Global batch size over all workers, slices."
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
        description="Epochs without a better validation Dice before it stops early.",
    )
    threshold: float | None = Field(
        None,
        title="Threshold (probability)",
        gt=0,
        lt=1,
        description="Operating threshold of the bundle, probability; empty = chosen on the validation patients.",
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
        "the last epoch, and bundle them all: their probabilities are averaged, and each patient is scored by the "
        "network that never saw it. Count.",
    )
    max_restarts: int = Field(
        3,
        title="Restarts (count)",
        ge=0,
        description="How often the workers are started again, from the last epoch, after one died, count.",
    )
    stall_minutes: float = Field(
        15.0,
        title="Stall time (min)",
        ge=0.2,
        description="A worker in which no step ends for so long ends itself (compiling and validating have four times "
        "as long), minutes.",
    )
    precision: Precision = Field(
        "float32",
        title="Precision",
        description="Arithmetic: float32; bfloat16 (CPUs with AMX or AVX512-BF16, GPUs); float16 (GPUs).",
    )
    seed: int = Field(0, title="Seed", ge=0, description="Seed of weights, order and augmentation.")


class SegmentationConfig(FormModel):
    """How new scans are segmented."""

    threshold: float | None = Field(
        None,
        title="Threshold (probability)",
        gt=0,
        lt=1,
        description="Probability above which a pixel is lesion; empty = the bundle's operating point.",
    )
    min_lesion_px: int | None = Field(
        None,
        title="Smallest lesion (px)",
        ge=0,
        description="Lesions below this area are dropped, px of the source; empty = the bundle's.",
    )
    min_lesion_mm3: float | None = Field(
        None,
        title="Smallest lesion (mm³)",
        ge=0,
        description="Lesions of a volume below this are dropped, mm³; empty = the smallest area, slice by slice.",
    )
    stack_pattern: StackPattern = Field(
        None,
        title="Stack pattern (regular expression)",
        description="Slices (PNG, JPEG, TIFF) whose paths without suffix match are one scan: a regular expression with "
        r"the groups `(?P<scan>)` and `(?P<slice>)`, such as `(?P<scan>.+)/.*?(?P<slice>\d+)` for a folder a scan; "
        "empty = each is a scan.",
    )
    dicom_seg: bool = Field(
        False,
        title="DICOM-SEG",
        description="Of DICOM series, also write the mask as a DICOM segmentation object.",
    )
    precision: Precision = Field(
        "float32",
        title="Precision",
        description="Arithmetic: float32; bfloat16 (CPUs with AMX or AVX512-BF16, GPUs); float16 (GPUs).",
    )
    settle_minutes: float = Field(
        30.0,
        title="Settle time (min)",
        ge=0,
        description="Objects younger than this are left for the next run: they may still be uploading. Minutes.",
    )
    hash_ids: bool = Field(
        False,
        title="Hash ids",
        description="Scan ids are hashes, and source URIs sealed, with the key in the environment variable "
        "LESIONS_ID_KEY: no name of a file, folder or member is found in any output.",
    )
    force: bool = Field(False, title="Force", description="Segment again what the ledger already holds.")
    take_over: bool = Field(
        False, title="Take over", description="Take the lock of the output from a run that still looks alive."
    )


PARAMETER_GROUPS: dict[str, type[FormModel]] = {
    "preparation": PreparationConfig,
    "augment": AugmentConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "segmentation": SegmentationConfig,
    "compute": ComputeConfig,
}
"""The groups by the name they have in flows, forms, flags and YAML."""
