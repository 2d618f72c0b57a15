"""How new scans are segmented."""

from typing import Annotated

from pydantic import AfterValidator, Field

from tasks.core.catalog import Precision
from tasks.core.config.forms import FormModel, require_groups


def _is_stack_pattern(pattern: str | None) -> str | None:
    return require_groups(pattern, ("scan", "slice"))


StackPattern = Annotated[str | None, AfterValidator(_is_stack_pattern)]


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
