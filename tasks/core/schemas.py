"""Schemas of the JSON files of a dataset, bundle, evaluation and segmentation.

Records hold URIs, digests, counts and rows; never arrays. Files are readable by every later minor version
of `SCHEMA_VERSION`: fields are added with a default, never renamed.
"""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidatorFunctionWrapHandler, WrapValidator

from tasks.core.catalog import Architecture, IntensityRule, OperatingRule, Output, Scored, Split
from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.forms import FormModel
from tasks.core.config.intensity import HuConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.config.preparation import PreparationConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.digests import digest
from tasks.core.drift import CollectionDrift, TrainingAppearance
from tasks.core.flags import FlagLimits
from tasks.core.operating_point import CurvePoint
from tasks.core.paired_comparison import PairedComparison
from tasks.core.quality import QualityCalibration
from tasks.core.record import Record
from tasks.core.rows import CorrectionSource, FailureRow, ScanStatus
from tasks.core.source_statistics import SourceStatistics

SCHEMA_VERSION: Final = "1.0"
LEAKY: Final = "leaky: slices of one patient on both sides"
INFLATION: Final = (
    "Scores are too high, because test slices are neighbours of training slices: on the public scans by 0.07 of Dice "
    "(95 % interval 0.03 to 0.11 over twelve patients), all else equal."
)
"""Said beside scores of a leaky dataset; measured in infra/docs/accuracy.md."""
EMPTY_MASK_CONVENTION: Final = (
    "A ratio without a denominator is undefined (null) and left out of means: Dice of a patient without lesion and "
    "without prediction is undefined, with any false positive it is 0."
)


BEFORE_DECODER_WIDTH: Final = 256
"""Filters of the first decoder block in bundles that do not name them."""


BEFORE_MODEL: Final = {"decoder_filters": BEFORE_DECODER_WIDTH, "intensity_rule": "slice_8bit"}
"""Network of bundles without these fields."""
BEFORE_AUGMENT: Final = dict.fromkeys(("quarter_turns", "zoom_in", "tone_curve", "equalisation", "blur", "jpeg"), 0.0)
"""Augmentations that bundles without these fields were trained without."""


def _as_stored(group: type[FormModel], **before: object) -> WrapValidator:
    """Read a parameter group from a file; unlike a form, it may have unknown fields of a later minor version.

    Args:
        group: Parameter group.
        before: Values of fields that earlier versions did not write, where these are not today's defaults.
    """

    def drop_unknown(values: object, handler: ValidatorFunctionWrapHandler) -> Any:  # Any: the group
        if not isinstance(values, dict):
            return handler(values)
        return handler(before | {name: value for name, value in values.items() if name in group.model_fields})

    return WrapValidator(drop_unknown)


def _is_inside(path: str) -> str:
    parts = path.split("/")
    if "\\" in path or not path.isprintable() or not {"", ".", ".."}.isdisjoint(parts):
        raise ValueError("a path inside the bundle was expected")
    return path


BundlePath = Annotated[str, AfterValidator(_is_inside)]
"""Path of a file in a bundle; a bundle may come from anybody, and what it names is read or written."""


class LeakageAudit(Record):
    """Audit of a dataset for the same pictures under different patients, and for patients in several splits.

    Attributes:
        n_slices: Slices that were compared with each other.
        n_all_slices: Slices of the dataset.
        n_patients_in_several_splits: By slice, not by patient, nearly all.
        n_near_duplicates: Pairs of slices of different patients that are nearly the same.
        n_across_splits: Those of them in different splits.
        n_single: Those of them of which both patients have no other slice.
    """

    n_slices: int
    n_patients_in_several_splits: int
    n_near_duplicates: int
    n_across_splits: int
    n_single: int
    n_all_slices: int


class DatasetCard(Record):
    """Card of a dataset: dataset.json, written last."""

    schema_version: str = SCHEMA_VERSION
    fingerprint: str
    code_version: str
    size_px: int
    intensity_rule: IntensityRule
    source_uri: str
    preparation: Annotated[PreparationConfig, _as_stored(PreparationConfig)]
    assignments: dict[str, Split]
    n_patients: int
    n_cases: int
    n_slices: int
    n_slices_by_split: dict[Split, int]
    n_lung_masks: int = 0
    n_failed: int
    leakage: LeakageAudit | None = None
    appearance: TrainingAppearance | None = None
    sources: tuple[SourceStatistics, ...] = ()
    corrections: tuple[CorrectionSource, ...] = ()
    warnings: tuple[str, ...] = ()


class EnsembleMember(Record):
    """Network of an ensemble, trained without the patients of its fold.

    Attributes:
        weights_file: Path in the bundle.
        self_test_file: Path in the bundle.
        history_file: Path in the bundle.
        held_out: Patients it was not trained on.
        threshold: Threshold for these patients, chosen on the held-out patients of all other folds.
        test_time_flips: Flips for these patients, chosen likewise.
        min_lesion_px: Minimum lesion size for these patients, chosen likewise.
    """

    weights_file: BundlePath
    self_test_file: BundlePath
    history_file: BundlePath
    held_out: tuple[str, ...]
    threshold: float
    test_time_flips: bool
    min_lesion_px: int = 0


class ModelCard(Record):
    """Card of a bundle: model.json, written last, with all that its use and its provenance need."""

    schema_version: str = SCHEMA_VERSION
    architecture: Architecture
    backbone: str
    outputs: tuple[Output, ...] = ("lesion",)
    decoder_filters: int = BEFORE_DECODER_WIDTH
    input_size_px: int
    intensity_rule: IntensityRule
    hu: HuConfig
    threshold: float
    threshold_choice: str
    operating_point: OperatingRule | None = None
    operating_curve: tuple[CurvePoint, ...] = ()
    min_lesion_px: int
    slice_statistics: float
    z_smoothing: bool = False
    test_time_flips: bool
    dataset_uri: str
    dataset_fingerprint: str
    n_slices_by_split: dict[Split, int] = Field(default_factory=dict)
    sources: tuple[SourceStatistics, ...] = ()
    model: Annotated[ModelConfig, _as_stored(ModelConfig, **BEFORE_MODEL)]
    training: Annotated[TrainingConfig, _as_stored(TrainingConfig, lung_weight=0.0, z_smoothing=False)]
    augment: Annotated[AugmentConfig, _as_stored(AugmentConfig, **BEFORE_AUGMENT)]
    parent_digest: str | None = None
    best_epoch: int
    validation: dict[str, float | None]
    validation_mean: dict[str, Any] = Field(default_factory=dict)  # Any: a mean, an interval or a count by name
    appearance: TrainingAppearance | None = None
    quality: tuple[QualityCalibration, ...] = ()
    flag_limits: FlagLimits = FlagLimits()
    versions: dict[str, str]
    code_version: str
    trained_at: datetime
    files: dict[BundlePath, str]
    members: tuple[EnsembleMember, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def weights_files(self) -> tuple[str, ...]:
        """Path of the weights of each network; an ensemble averages their probabilities."""
        return tuple(member.weights_file for member in self.members) or (WEIGHTS_FILE,)

    @property
    def n_predictions(self) -> int:
        """Largest number of averaged predictions per slice: networks times mirror images."""
        return len(self.weights_files) * (4 if self.test_time_flips else 1)

    @property
    def digest(self) -> str:
        """Digest of all that decides a mask: weights, network, input and operating point."""
        later = {name for name, before in DECIDES_SINCE.items() if getattr(self, name) == before}
        decisive = self.model_dump(mode="json", include=DECIDES_A_MASK - later)
        return digest(**decisive, weights=[self.files[path] for path in self.weights_files])

    def alone(self, index: int) -> "ModelCard":
        """Return the card of one network of an ensemble, with the operating point for its held-out patients."""
        member = self.members[index]
        point = {name: getattr(member, name) for name in ("threshold", "test_time_flips", "min_lesion_px")}
        return self.model_copy(update=point)


WEIGHTS_FILE: Final = "model.weights.h5"
DECIDES_A_MASK: Final = {
    *("architecture", "backbone", "input_size_px", "intensity_rule", "hu", "slice_statistics"),
    *("threshold", "min_lesion_px", "test_time_flips", "z_smoothing"),
}
"""Fields of a card that decide a mask, besides the weights."""
DECIDES_SINCE: Final = {"z_smoothing": False}
"""Fields that earlier bundles do not have, and what they did; the digest of a bundle that does the same stays."""


class EvaluationReport(Record):
    """Results of an evaluation: metrics.json, with the counts behind every ratio."""

    schema_version: str = SCHEMA_VERSION
    split: Scored
    n_patients: int
    n_slices: int
    threshold: float
    pooled: dict[str, float | int | None]
    per_patient: list[dict[str, float | int | bool | str | None]]
    per_source: dict[str, dict[str, Any]]  # Any: float, int, None, and its own mean over patients
    per_patient_mean: dict[str, Any]  # Any: a mean, an interval, a count or a summary by name
    lesions: dict[str, dict[str, int]] = Field(default_factory=dict)
    calibration: dict[str, Any] = Field(default_factory=dict)  # Any: an error, or the bins of the diagram
    comparison: PairedComparison | None = None
    conventions: dict[str, str] = Field(default_factory=dict)
    empty_mask_convention: str = EMPTY_MASK_CONVENTION
    model_digest: str
    model_uri: str
    dataset_uri: str
    dataset_fingerprint: str
    code_version: str
    versions: dict[str, str] = Field(default_factory=dict)
    n_held_out: int
    n_failed: int
    failures: list[FailureRow] = Field(default_factory=list)
    warnings: tuple[str, ...] = ()


class Speed(Record):
    """Throughput and cost of a run; seconds of stages are summed over workers."""

    seconds: float
    load_seconds: float
    predict_seconds: float
    finish_seconds: float
    bytes_read: int
    bytes_written: int
    n_slices: int
    slices_per_second: float | None
    scans_per_hour: float | None
    n_nodes: int
    cost_per_1000_scans: float | None


class SegmentationManifest(Record):
    """Manifest of a segmentation: manifest.json, written last."""

    schema_version: str = SCHEMA_VERSION
    run_id: str
    scans_uri: str
    model_uri: str
    model_digest: str
    params_digest: str
    segmentation: Annotated[SegmentationConfig, _as_stored(SegmentationConfig)]
    hu: HuConfig | None = None
    threshold: float
    min_lesion_px: int
    counts: dict[ScanStatus, int]
    n_new_failures: int
    seconds: float
    speed: Speed
    test_time_flips: bool
    n_predictions: int
    drift: CollectionDrift | None = None
    code_version: str
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()
