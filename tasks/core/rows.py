"""Rows of tables: labelled slices, cases, scans and rejected inputs."""

from typing import Literal

from pydantic import Field

from tasks.core.catalog import Split
from tasks.core.record import Record
from tasks.core.stored_code import StoredCode

ScanStatus = Literal["done", "skipped", "deferred", "failed", "not_a_scan"]


class SlicePair(Record):
    """Labelled slice: URIs of image, mask and lung mask, and its identity; `lung_uri` is None without a lung mask."""

    case_id: str
    slice_index: int
    patient_id: str
    source: str
    image_uri: str
    mask_uri: str
    lung_uri: str | None = None
    fingerprint: str


class PatientRow(Record):
    """Patient of a source, and their split once there is one."""

    patient_id: str
    source: str
    split: Split | None = None


class CaseRow(Record):
    """A case of the dataset, or with a split by slice its part in one split.

    Attributes:
        n_slices: In the dataset.
        n_source_slices: Of the whole case in its source, those that were rejected or lie in another split included.
    """

    case_id: str
    patient_id: str
    source: str
    split: Split
    n_slices: int
    n_source_slices: int
    lesion_fraction: float
    source_uri: str
    source_fingerprint: str


class DuplicateRow(Record):
    """Pair of slices of different patients that are nearly the same; `similarity` is a correlation, up to 1."""

    case_id: str
    slice_index: int
    patient_id: str
    split: Split
    other_case_id: str
    other_slice_index: int
    other_patient_id: str
    other_split: Split
    similarity: float


class FailureRow(Record):
    """Rejected input and the reason; `where`, the traceback of an `internal_error`, is in no file."""

    uri: str
    error_code: StoredCode
    error: str
    where: str | None = Field(None, exclude=True)


class ScanRow(Record):
    """Result of one scan; `where`, the traceback of an `internal_error`, is for the log and in no file."""

    scan_id: str
    source_uri: str
    source_fingerprint: str
    status: ScanStatus
    error_code: StoredCode | None = None
    error: str | None = None
    warnings: list[str] = Field(default_factory=list)
    flags: list[str] = Field(default_factory=list)
    n_slices: int | None = None
    height_px: int | None = None
    width_px: int | None = None
    spacing_mm: list[float] | None = None
    lesion_profile: list[int] | None = None
    lesion_voxels: int | None = None
    lesion_ml: float | None = None
    n_lesions: int | None = None
    lung_ml: float | None = None
    lung_involvement: float | None = None
    quality: float | None = None
    quality_low: float | None = None
    quality_high: float | None = None
    drift_score: float | None = None
    seconds: float | None = None
    mask_uri: str | None = None
    mask_sha256: str | None = None
    model_digest: str
    params_digest: str
    mask_version: str
    code_version: str
    where: str | None = Field(None, exclude=True)


class LedgerEntry(ScanRow):
    """Result of one scan, and the version of the readers that accepted or rejected it."""

    reader_version: str
