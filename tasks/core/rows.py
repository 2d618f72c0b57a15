"""Rows of tables: labelled slices, cases, scans and rejected inputs."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from tasks.core.catalog import Split
from tasks.core.record import Record
from tasks.core.stored_code import StoredCode
from tasks.core.volumes import Layout

ScanStatus = Literal["done", "skipped", "deferred", "failed", "not_a_scan"]
Verdict = Literal["accept", "correct", "reject"]
ReviewStatus = Literal["accepted", "refused"]


class SlicePair(Record):
    """Labelled slice: URIs of image, mask and lung mask, and its identity.

    Attributes:
        lung_uri: None without a lung mask.
        mask_sha256: Digest that the mask must have; None if it is not known.
    """

    case_id: str
    slice_index: int
    patient_id: str
    source: str
    image_uri: str
    mask_uri: str
    lung_uri: str | None = None
    mask_sha256: str | None = None
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
    is_oriented: bool | None = None
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


class VerdictRow(Record):
    """Verdict on the mask of a scan, or a refused line of verdicts.csv.

    Attributes:
        scan_id: Id of the scan; None if the line names none of the output.
        verdict: None if it is none of the known ones; of an accepted line, if an earlier verdict is withdrawn by it.
        mask_sha256: Digest of the mask that was looked at.
        decided_at: Time of the decision.
        status: Whether it counts.
        error_code: Code of the refusal.
        error: Sentence of the refusal.
        digest: Digest of the line, by which a later review knows it.
    """

    scan_id: str | None
    verdict: Verdict | None
    mask_sha256: str | None
    decided_at: datetime | None
    status: ReviewStatus
    error_code: StoredCode | None = None
    error: str | None = None
    digest: str


class PackageRow(Record):
    """Package of a scan to correct, or why there is none.

    Attributes:
        scan_id: Id of the scan.
        status: Whether it was made.
        error_code: Code of the refusal.
        error: Sentence of the refusal.
        warnings: Sentences about files that could not be added to it.
        digest: Digest of what it was made of: mask, scan and kind of DICOM-SEG.
        where: Traceback of an `internal_error`, for the log; in no file.
    """

    scan_id: str
    status: ReviewStatus
    error_code: StoredCode | None = None
    error: str | None = None
    warnings: list[str] = Field(default_factory=list)
    digest: str
    where: str | None = Field(None, exclude=True)


class CorrectionRow(Record):
    """Correction of a mask that was taken in or refused.

    Attributes:
        scan_id: Name of the file without suffix; of an unknown scan with hashed ids, a part of the file's digest.
        status: Whether it is used.
        error_code: Code of the refusal.
        error: Sentence of the refusal.
        sha256: Digest of the file, by which a later review knows it.
        n_voxels_before: Lesion voxels of the prediction.
        n_voxels_after: Lesion voxels of the correction.
        dice_with_prediction: Dice of both; None if both are empty.
        prediction_sha256: Digest of the predicted mask.
        layout: Layout of the scan.
        source_uris: URI of the scan, or of each slice of a stack; encrypted if ids are hashed.
        source_fingerprint: Fingerprint of the scan.
        label_sha256: Digest of the label that was made of it.
        taken_at: Time at which it was taken in or refused first.
        where: Traceback of an `internal_error`, for the log; in no file.
    """

    scan_id: str
    status: ReviewStatus
    error_code: StoredCode | None = None
    error: str | None = None
    sha256: str
    n_voxels_before: int | None = None
    n_voxels_after: int | None = None
    dice_with_prediction: float | None = None
    prediction_sha256: str | None = None
    layout: Layout | None = None
    source_uris: list[str] = Field(default_factory=list)
    source_fingerprint: str | None = None
    label_sha256: str | None = None
    taken_at: datetime
    where: str | None = Field(None, exclude=True)


class CorrectionSource(Record):
    """Segmentation whose accepted corrections are part of a dataset: URI, corrected scans, and their digest."""

    uri: str
    n_scans: int
    digest: str
