"""Parameters of the segmentation of new scans."""

from typing import Annotated

from pydantic import AfterValidator, Field

from tasks.core.catalog import Precision
from tasks.core.config.forms import FormModel, require_groups


def _is_stack_pattern(pattern: str | None) -> str | None:
    return require_groups(pattern, ("scan", "slice"))


StackPattern = Annotated[str | None, AfterValidator(_is_stack_pattern)]


class SegmentationConfig(FormModel):
    """Segmentation of new scans: operating point, outputs, and which scans are segmented again."""

    threshold: float | None = Field(
        None,
        title="Threshold (probability)",
        gt=0,
        lt=1,
        description="Smallest probability at which a pixel is labelled lesion. Empty = the bundle's threshold.",
    )
    min_lesion_px: int | None = Field(
        None,
        title="Smallest lesion (px)",
        ge=0,
        description="Area in a slice below which lesions are removed, px of the original image. Empty = as chosen in "
        "training.",
    )
    min_lesion_mm3: float | None = Field(
        None,
        title="Smallest lesion (mm³)",
        ge=0,
        description="Volume below which lesions of a 3D scan are removed, mm³; replaces the limit in px. Empty = the "
        "limit in px.",
    )
    test_time_flips: bool | None = Field(
        None,
        title="Test-time flips",
        description="Average the predictions of each slice and its mirror images (test-time augmentation), at up to 4 "
        "times the computation. Empty = as chosen in training.",
    )
    stack_pattern: StackPattern = Field(
        None,
        title="Stack pattern (regular expression)",
        description="Regular expression for paths without suffix that joins slice files into scans, with groups "
        r"`(?P<scan>)` and `(?P<slice>)`. `(?P<scan>.+)/.*?(?P<slice>\d+)` = one scan per folder; empty = one scan "
        "per file.",
    )
    pictures_beside_dicom: bool = Field(
        False,
        title="Pictures beside DICOM",
        description="Also segment pictures in folders with DICOM slices or below a DICOMDIR. Without it they are left "
        "alone and counted, because they are logos and thumbnails of a viewer.",
    )
    dicom_seg: bool = Field(
        False,
        title="DICOM-SEG",
        description="Also write the masks of DICOM series as DICOM segmentation objects.",
    )
    precision: Precision = Field(
        "auto",
        title="Precision",
        description="Floating-point type of the computation: auto (float16 on GPUs, bfloat16 on CPUs with AMX or "
        "AVX512-BF16, else float32), float32, bfloat16, or float16 (GPUs only).",
    )
    settle_minutes: float = Field(
        30.0,
        title="Settle time (min)",
        ge=0,
        description="Age in minutes below which files are left for the next run, because they may still be uploading.",
    )
    scan_timeout_minutes: float = Field(
        10.0,
        title="Time limit per scan (min)",
        gt=0,
        description="Minutes after which a scan that is still being loaded or finished is rejected, and an archive in "
        "which no further member was found.",
    )
    hash_ids: bool = Field(
        False,
        title="Hash ids",
        description="Pseudonymise: hash scan ids and encrypt source URIs with the key in LESIONS_ID_KEY. Outputs then "
        "hold no file or folder names.",
    )
    force: bool = Field(False, title="Force", description="Segment all scans again, also those already finished.")
    take_over: bool = Field(
        False, title="Take over", description="Take the output lock from another run, even if its heartbeat continues."
    )
