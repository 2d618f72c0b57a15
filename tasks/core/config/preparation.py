"""Parameters of the preparation: slice size, split, mask values and CT values."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tasks.core.catalog import MaskRule
from tasks.core.config.forms import FormModel, require_groups
from tasks.core.config.intensity import HuConfig


def _is_patient_pattern(pattern: str | None) -> str | None:
    return require_groups(pattern, ("patient",), ", and may have (?P<case>…) and (?P<slice>…)")


PatientPattern = Annotated[str | None, AfterValidator(_is_patient_pattern)]


class Fractions(FormModel):
    """Fractions of each source for validation and test; the rest is for training. Also read from [train, val, test]."""

    val: float = Field(
        0.15, title="Validation (fraction)", gt=0, lt=1, description="Fraction of patients for validation."
    )
    test: float = Field(0.15, title="Test (fraction)", gt=0, lt=1, description="Fraction of patients for testing.")

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


class PreparationConfig(FormModel):
    """Preparation of a dataset from labelled slices or volumes."""

    size_px: int = Field(
        256,
        title="Slice size (px)",
        ge=32,
        le=1024,
        multiple_of=32,
        description="Side of the square that slices are resized to, px. A multiple of 32.",
    )
    strategy: Literal["patient", "slice"] = Field(
        "patient",
        title="Split by",
        description="Unit of the split: patient or slice. slice puts slices of one patient into several splits; "
        "scores are then optimistic.",
    )
    fractions: Fractions = Field(
        Fractions(),
        title="Split fractions",
        description="Fractions of patients for validation and test; the rest is for training.",
    )
    mask_rule: MaskRule = Field(
        "binary",
        title="Mask values",
        description="Values a mask may hold. binary: {0,1}, {0,255} or {0,65535}; half: lesion from half of full "
        "scale, as for JPEG; nonzero: any value above 0 is lesion.",
    )
    hu: HuConfig = Field(
        HuConfig(),
        title="CT values",
        description="Mapping of CT values to the model's input. For 8-bit slices: the mapping they were exported with.",
    )
    patient_id_pattern: PatientPattern = Field(
        None,
        title="Patient pattern (regular expression)",
        description="Regular expression for file names without suffix, with the group `(?P<patient>)`, optionally "
        "`(?P<case>)` and `(?P<slice>)`. Empty = built-in patterns of public collections.",
    )
    corrections: tuple[str, ...] = Field(
        (),
        title="Corrections (URIs)",
        description="URIs of reviewed segmentations. Their accepted corrections are labels beside the source, and "
        "replace its labels of the same slices.",
    )
    seed: int = Field(0, title="Seed", ge=0, description="Seed of the split.")
    max_failed_fraction: float = Field(
        0.0,
        title="Tolerated rejections (fraction)",
        ge=0,
        le=1,
        description="Maximum fraction of rejected slices. Above it, a pipeline stops after the preparation.",
    )
