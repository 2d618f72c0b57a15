"""One small filled-in example of every record, for tests that need a whole one."""

from datetime import UTC, datetime
from typing import Any

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.intensity import HuConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.config.preparation import PreparationConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.drift import CollectionDrift, SourceAppearance, TrainingAppearance
from tasks.core.flags import FlagLimits
from tasks.core.handles import (
    DatasetHandle,
    Diagnosis,
    EvaluationHandle,
    Finding,
    ModelHandle,
    ReviewHandle,
    SegmentationHandle,
    SegmentationPlan,
    SourceHandle,
)
from tasks.core.metrics import Counts, score
from tasks.core.paired_comparison import PairedComparison, PairedPatient
from tasks.core.quality import FEATURES as QUALITY_FEATURES
from tasks.core.quality import QualityCalibration
from tasks.core.record import Record
from tasks.core.rows import (
    CaseRow,
    CorrectionRow,
    CorrectionSource,
    DuplicateRow,
    FailureRow,
    LedgerEntry,
    PackageRow,
    PatientRow,
    ScanRow,
    SlicePair,
    VerdictRow,
)
from tasks.core.schemas import (
    WEIGHTS_FILE,
    DatasetCard,
    EnsembleMember,
    EvaluationReport,
    LeakageAudit,
    ModelCard,
    SegmentationManifest,
    Speed,
)
from tasks.core.source_statistics import SourceStatistics, Spread
from tasks.core.step_inputs import EvaluateRequest, PrepareRequest, SegmentRequest, TrainRequest


def _figures(counts: Counts, *, n_slices: int) -> dict[str, float | int | None]:
    ratios: dict[str, float | int | None] = dict(score(counts))
    return ratios | {
        "n_slices": n_slices,
        "loss": 0.25,
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "tn": counts.tn,
    }


CORRECTIONS = CorrectionSource(uri="file:///out", n_scans=1, digest="d" * 64)
SOURCE_REF = SourceHandle(
    uri="file:///store/pairs",
    fingerprint="f1",
    n_slices=3,
    n_failed=1,
    corrections=(CORRECTIONS,),
    warnings=("odd names",),
)
FAILURE = FailureRow(uri="file:///in/frames/jane_doe.png", error_code="unreadable", error="Image is truncated.")
DUPLICATE = DuplicateRow(
    case_id="case_1",
    slice_index=3,
    patient_id="patient_1",
    split="train",
    other_case_id="case_2",
    other_slice_index=7,
    other_patient_id="patient_2",
    other_split="test",
    similarity=0.97,
)
CASE = CaseRow(
    case_id="case_1",
    patient_id="patient_1",
    source="clinic",
    split="train",
    n_slices=3,
    n_source_slices=3,
    lesion_fraction=0.5,
    source_uri="file:///in",
    source_fingerprint="f2",
)
PAIR = SlicePair(
    case_id="case_1",
    slice_index=0,
    patient_id="patient_1",
    source="clinic",
    image_uri="file:///in/frames/a.png",
    mask_uri="file:///in/masks/a.png",
    fingerprint="f3",
)
DONE = ScanRow(
    scan_id="scan_done",
    source_uri="file:///scans/done.png",
    source_fingerprint="f4",
    status="done",
    n_slices=1,
    is_oriented=False,
    height_px=512,
    width_px=512,
    lesion_profile=[1234],
    lesion_voxels=1234,
    n_lesions=2,
    seconds=0.5,
    mask_uri="file:///out/masks/scan_done.png",
    mask_sha256="a" * 64,
    model_digest="b" * 64,
    params_digest="c" * 64,
    mask_version="2",
    code_version="0.1.0",
)
FAILED = ScanRow(
    scan_id="scan_failed",
    source_uri="file:///scans/john_doe.png",
    source_fingerprint="f5",
    status="failed",
    error_code="unreadable",
    error="Image is truncated.",
    model_digest="b" * 64,
    params_digest="c" * 64,
    mask_version="2",
    code_version="0.1.0",
)
VERDICT = VerdictRow(
    scan_id="scan_done",
    verdict="accept",
    mask_sha256="a" * 64,
    decided_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    status="accepted",
    digest="d" * 64,
)
CORRECTION = CorrectionRow(
    scan_id="scan_done",
    status="accepted",
    sha256="e" * 64,
    n_voxels_before=1234,
    n_voxels_after=1500,
    dice_with_prediction=0.9,
    prediction_sha256="a" * 64,
    layout="slice",
    source_uris=["file:///scans/done.png"],
    source_fingerprint="f4",
    label_sha256="f" * 64,
    taken_at=datetime(2026, 1, 3, 3, 4, tzinfo=UTC),
)
AUDIT = LeakageAudit(
    n_slices=90, n_patients_in_several_splits=0, n_near_duplicates=1, n_across_splits=1, n_single=0, n_all_slices=90
)
APPEARANCE = TrainingAppearance(
    features=("lung_level",),
    sources=(SourceAppearance(n_patients=2, n_slices=90, mean=(0.5,), covariance="AACAPw=="),),
    limit=1.5,
)
QUALITY = QualityCalibration(
    features=QUALITY_FEATURES,
    threshold=0.4,
    mean=(0.7, 0.6, 5.0, 0.4),
    spread=(0.1, 0.2, 1.0, 0.2),
    coefficients=(0.05, 0.1, 0.0, 0.02),
    intercept=0.6,
    low=(-0.3, -0.2, -0.1),
    high=(0.3, 0.2, 0.1),
    n_patients=5,
    n_slices=200,
)
DRIFT = CollectionDrift(n_scans=9, n_foreign=2, median=0.7)
SPREAD = Spread(low=0.001, median=0.01, high=0.05)
SOURCE_STATISTICS = SourceStatistics(
    source="patient",
    n_patients=3,
    n_cases=4,
    n_slices=90,
    n_lesion_slices=40,
    lesion_fraction=SPREAD,
    side_px=Spread(low=512, median=512, high=512),
    slice_spacing_mm=None,
    pixel_spacing_mm=None,
    field_of_view_mm=None,
)
DATASET = DatasetCard(
    fingerprint="f6",
    code_version="0.1.0",
    size_px=256,
    intensity_rule="slice_8bit",
    source_uri="file:///in",
    preparation=PreparationConfig(),
    assignments={"patient_1": "train", "patient_2": "val", "patient_3": "test"},
    n_patients=3,
    n_cases=4,
    n_slices=90,
    n_slices_by_split={"train": 60, "val": 20, "test": 10},
    n_failed=2,
    sources=(SOURCE_STATISTICS,),
    corrections=(CORRECTIONS,),
    warnings=("one case has no lesion",),
)
MEMBER = EnsembleMember(
    weights_file="folds/0/model.weights.h5",
    self_test_file="folds/0/self_test.npz",
    history_file="folds/0/history.csv",
    held_out=("patient_a",),
    threshold=0.45,
    test_time_flips=False,
)
MODEL = ModelCard(
    architecture="unet",
    backbone="resnet34",
    decoder_filters=256,
    input_size_px=256,
    intensity_rule="slice_8bit",
    hu=HuConfig(),
    threshold=0.4,
    threshold_choice="best mean Dice of 5 validation patients",
    min_lesion_px=3,
    slice_statistics=0.0,
    test_time_flips=False,
    dataset_uri="file:///dataset",
    dataset_fingerprint="f6",
    model=ModelConfig(),
    training=TrainingConfig(),
    augment=AugmentConfig(),
    best_epoch=7,
    validation={"val_f1": 0.8, "val_precision": None},
    versions={"tensorflow": "2.21.0"},
    code_version="0.1.0",
    trained_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    files={WEIGHTS_FILE: "d" * 64},
)
MEAN_DICE: dict[str, Any] = {"dice": 0.8, "dice_ci95": None, "n_defined": 1, "n_undefined": 1}  # Any: see the record
EVALUATION = EvaluationReport(
    split="test",
    n_patients=2,
    n_slices=1500,
    threshold=0.4,
    pooled=_figures(Counts(4, 1, 1, 94), n_slices=1500),
    per_patient=[
        {"patient_id": "patient_b", "source": "clinic"} | _figures(Counts(4, 1, 1, 44), n_slices=1000),
        {"patient_id": "patient_a", "source": "clinic"} | _figures(Counts(0, 0, 0, 50), n_slices=500),
    ],
    per_source={
        "clinic": _figures(Counts(4, 1, 1, 94), n_slices=1500) | {"n_patients": 2, "per_patient_mean": MEAN_DICE}
    },
    per_patient_mean=MEAN_DICE,
    model_digest="b" * 64,
    model_uri="file:///model",
    dataset_uri="file:///dataset",
    dataset_fingerprint="f6",
    code_version="0.1.0",
    n_held_out=0,
    n_failed=0,
)
PAIRED = PairedPatient(
    patient_id="patient_b", source="clinic", dice=0.8, earlier_dice=0.85, difference=-0.05, is_worse=True
)
COMPARISON = PairedComparison(
    earlier_uri="file:///earlier",
    earlier_model_digest="e" * 64,
    difference={"mean": -0.05, "ci95": None, "t_ci95": None, "median": -0.05, "n_defined": 1, "n_undefined": 1},
    n_left_out=0,
    patients=(PAIRED,),
)
SPEED = Speed(
    seconds=12.4,
    load_seconds=0.8,
    predict_seconds=4.1,
    finish_seconds=1.3,
    bytes_read=2_500_000,
    bytes_written=1_200_000,
    n_slices=1,
    slices_per_second=24.5,
    scans_per_hour=290.0,
    n_nodes=1,
    cost_per_1000_scans=None,
)
MANIFEST = SegmentationManifest(
    run_id="run-7",
    scans_uri="file:///scans",
    model_uri="file:///model",
    model_digest="b" * 64,
    params_digest="c" * 64,
    segmentation=SegmentationConfig(),
    threshold=0.4,
    min_lesion_px=3,
    counts={"done": 1, "skipped": 0, "deferred": 0, "failed": 0},
    n_new_failures=0,
    seconds=12.4,
    speed=SPEED,
    test_time_flips=False,
    n_predictions=1,
    code_version="0.1.0",
    versions={"tensorflow": "2.21.0"},
)

FINDING = Finding(is_well=True, sentence="/tmp can be written and read")  # noqa: S108 - as it is shown

SAMPLES: dict[type[Record], Record] = {
    type(sample): sample
    for sample in (
        SOURCE_REF,
        DatasetHandle(uri="file:///dataset", fingerprint="f6", n_slices=90, n_failed=2),
        ModelHandle(uri="file:///model", fingerprint="f7"),
        EvaluationHandle(uri="file:///report", fingerprint="f8", n_failed=0),
        SegmentationHandle(uri="file:///out", fingerprint="f9", counts=MANIFEST.counts, n_new_failures=0),
        PAIR,
        PatientRow(patient_id="patient_1", source="clinic", split="val"),
        CASE,
        DUPLICATE,
        AUDIT,
        APPEARANCE,
        DRIFT,
        FlagLimits(),
        QUALITY,
        FAILURE,
        DONE,
        LedgerEntry(**DONE.model_dump(), reader_version="1"),
        DATASET,
        SOURCE_STATISTICS,
        MEMBER,
        MODEL,
        EVALUATION,
        COMPARISON,
        SPEED,
        MANIFEST,
        VERDICT,
        CORRECTION,
        PackageRow(scan_id="scan_done", status="accepted", digest="d" * 64),
        CORRECTIONS,
        FINDING,
        Diagnosis(checks={"storage": FINDING}, exit_code=0),
        ReviewHandle(uri="file:///out", n_packages=3, n_verdicts=2, n_corrections=1, n_refused=1, n_new_refusals=1),
        SegmentationPlan(
            due=["a__b"],
            up_to_date={"done": 0, "skipped": 2, "deferred": 1, "failed": 0},
            estimated_seconds=90.0,
            estimated_cost=0.1,
        ),
        PrepareRequest(
            source=SOURCE_REF, source_uri="file:///in", dataset_uri="file:///dataset", preparation=PreparationConfig()
        ),
        TrainRequest(
            dataset_uri="file:///dataset",
            model_uri="file:///model",
            model=ModelConfig(),
            training=TrainingConfig(),
            augment=AugmentConfig(),
        ),
        EvaluateRequest(
            model_uri="file:///model", dataset_uri="file:///dataset", report_uri="file:///report", split="test"
        ),
        SegmentRequest(
            model_uri="file:///model",
            scans_uri="file:///scans",
            output_uri="file:///out",
            segmentation=SegmentationConfig(),
            run_id="run-7",
        ),
    )
}
"""By class; `test_records` fails where a new record has none."""
