"""The parameters of every flow: one `FormModel` a group, the same in the UI's form, the CLI and YAML.

A field's unit stands in its title (the Prefect form shows it) and in its description (the CLI shows that).
"""

from typing import Literal

from pydantic import Field, model_validator

from tasks.core.catalog import Precision
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.forms import FormModel, PatientPattern, StackPattern
from tasks.core.config.learning import AugmentConfig, ModelConfig, TrainingConfig


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
    test_time_flips: bool | None = Field(
        None,
        title="Flips, whatever the bundle does",
        description="Whether the mirror images of a slice in which anything is seen are predicted, too, and averaged: "
        "up to four times the work. The threshold stays. Empty = as the bundle does.",
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
