from dataclasses import replace

import numpy as np
import pytest

from tasks.core.metrics import Counts
from tasks.core.probability_histogram import ProbabilityHistogram, probability_histogram
from tasks.core.step_inputs import EvaluateRequest
from tasks.stages import evaluation_report
from tasks.stages.case_scores import CaseScore, PackedSlice
from tasks.stages.evaluation_report import build_report, draw_report
from tasks.stages.patient_scores import PatientScore, Picture, Scorer, ShardScore, add_up
from tests.core.samples import DATASET, FAILURE, MODEL

REQUEST = EvaluateRequest(
    model_uri="memory://model", dataset_uri=MODEL.dataset_uri, report_uri="memory://report", split="test"
)
SAME_DATASET = DATASET.model_copy(update={"fingerprint": MODEL.dataset_fingerprint, "warnings": ()})
CARD = MODEL.model_copy(update={"warnings": (), "members": ()})


def _score(*, tp: int, fp: int = 0, source: str = "a", png: bytes = b"picture") -> PatientScore:
    picture = Picture(n_lesion=tp, png=png) if png else Picture()
    return PatientScore(
        source, Scorer(), n_slices=2, counts=Counts(tp, fp, 0, 100 - tp - fp), loss=1.0, picture=picture
    )


PATIENTS = {
    "half": _score(tp=10, fp=20),
    "none": _score(tp=0, fp=5, source="b"),
    "perfect": _score(tp=10),
    "worse": _score(tp=10, fp=40, png=b""),
}


def test_a_figure_pools_counts_and_a_mean_weighs_patients_alike() -> None:
    """Pooled Dice is that of summed pixels, the mean that of the patients' own; a source has both of its patients."""
    report = build_report(REQUEST, CARD, SAME_DATASET, PATIENTS, [FAILURE])
    assert (report.n_patients, report.n_slices, report.n_failed) == (4, 8, 1)
    assert report.pooled["dice"] == pytest.approx(60 / (60 + 65))
    assert report.pooled["loss"] == pytest.approx(4 / 8)
    assert report.per_patient_mean["dice"] == pytest.approx((20 / 40 + 0 + 1 + 20 / 60) / 4)
    assert [row["patient_id"] for row in report.per_patient] == [*PATIENTS]
    assert {source: figures["n_patients"] for source, figures in report.per_source.items()} == {"a": 3, "b": 1}
    assert report.per_source["b"]["tp"] == 0
    assert report.per_source["b"]["fp"] == 5


def _with_case(
    patient: PatientScore, *masks: np.ndarray, spacing_mm: tuple[float, float, float] | None
) -> PatientScore:
    whole = CaseScore(1, spacing_mm, {0: PackedSlice.of(*masks)}).scored_if_whole()
    return replace(patient, cases={"case": whole})


def test_metrics_of_cases_are_summarised_by_source_and_lesions_summed() -> None:
    """Of the patients who have them: mean, intervals and median over patients; lesions by their number."""
    lesion, far = np.zeros((2, 20, 20), np.uint8)
    lesion[2:6, 2:6] = 1
    far[15:18, 15:18] = 1
    patients = {
        "found": _with_case(_score(tp=9), lesion, lesion, spacing_mm=(1.0, 1.0, 1.0)),
        "missed": _with_case(_score(tp=3), far, lesion, spacing_mm=(1.0, 1.0, 1.0)),
        "pixels": _with_case(_score(tp=1, source="b"), lesion, lesion | far, spacing_mm=None),
        "unknown": _score(tp=1, source="b"),
    }
    report = build_report(REQUEST, CARD, SAME_DATASET, patients, [])
    metrics = report.per_patient_mean["metrics"]
    assert (metrics["nsd_3mm"]["mean"], metrics["nsd_3mm"]["n_defined"], metrics["nsd_3mm"]["n_undefined"]) == (
        0.5,
        2,
        2,
    )
    assert metrics["lesion_recall"]["median"] == 0.5
    assert metrics["dice"]["t_ci95"] is not None
    assert report.per_source["a"]["per_patient_mean"]["metrics"]["nsd_3px"]["n_defined"] == 0
    assert report.pooled["n_cases"] == 3
    assert report.pooled["lesion_recall"] == pytest.approx(2 / 4)
    assert report.pooled["false_lesions_per_scan"] == pytest.approx(1 / 3)
    assert report.lesions["small"] == {"n_reference": 4, "n_found": 2, "n_predicted": 3, "n_false": 1}
    assert report.per_source["b"]["lesions"]["small"]["n_reference"] == 2
    assert "4 patients are few" in report.conventions["intervals"]
    page, _ = draw_report(report, CARD, SAME_DATASET, patients, curves={})
    assert "lesion recall" in page
    assert "NSD 3 mm" in page
    assert report.conventions["surfaces"] in page


def test_intervals_stay_within_the_range_of_their_metric() -> None:
    """Three patients of Dice 0.5, 0 and 1 have an interval in the file that ends at 0 and 1, and none on the page."""
    patients = {name: PATIENTS[name] for name in ("half", "none", "perfect")}
    report = build_report(REQUEST, CARD, SAME_DATASET, patients, [])
    assert report.per_patient_mean["metrics"]["dice"]["t_ci95"] == (0.0, 1.0)
    page, _ = draw_report(report, CARD, SAME_DATASET, patients, curves={})
    assert "too few patients for an interval" in page
    assert "0.000 to 1.000" not in page


@pytest.mark.parametrize(("spacing_mm", "unit"), [((1.0, 1.0, 1.0), "ml"), (None, "voxels")])
def test_volumes_are_in_ml_where_the_spacing_is_known(
    monkeypatch: pytest.MonkeyPatch, spacing_mm: tuple[float, float, float] | None, unit: str
) -> None:
    """A voxel of 1 mm³ is 0.001 ml; without spacing the voxels of all slices are compared."""
    drawn: list[tuple[list[float], list[float], str]] = []
    draw = evaluation_report.volumes_figure

    def noted(predicted: np.ndarray, reference: np.ndarray, *, unit: str) -> bytes:
        drawn.append((predicted.tolist(), reference.tolist(), unit))
        return draw(predicted, reference, unit=unit)

    monkeypatch.setattr(evaluation_report, "volumes_figure", noted)
    lesion, larger = np.zeros((2, 20, 20), np.uint8)
    lesion[2:6, 2:6] = larger[2:6, 2:8] = 1
    patients = {"one": _with_case(_score(tp=16, fp=8), larger, lesion, spacing_mm=spacing_mm)}
    draw_report(build_report(REQUEST, CARD, SAME_DATASET, patients, []), CARD, SAME_DATASET, patients, curves={})
    [(predicted, reference, shown)] = drawn
    factor = 0.001 if spacing_mm else 1
    assert predicted == pytest.approx([24 * factor])
    assert reference == pytest.approx([16 * factor])
    assert shown == unit


def test_calibration_is_over_the_pixels_of_all_patients() -> None:
    """Two patients at the same probability, one all lesion and one without: half of what is predicted is true."""
    at_200 = np.full((4, 4), 200, np.uint8)
    patients = {
        name: replace(_score(tp=1), histogram=probability_histogram(at_200, np.full((4, 4), value, np.uint8)))
        for name, value in (("lesion", 1), ("none", 0))
    }
    report = build_report(REQUEST, CARD, SAME_DATASET, patients, [])
    assert report.calibration["ece_foreground"] == pytest.approx(200 / 255 - 0.5)
    assert report.per_source["a"]["calibration"] == report.calibration


def test_patients_the_network_may_have_seen_are_warned_of() -> None:
    """Training patients among those scored, or a dataset it was not trained on, are said; else nothing is."""
    all_splits = REQUEST.model_copy(update={"split": "all"})
    elsewhere = REQUEST.model_copy(update={"dataset_uri": "memory://another"})
    another = SAME_DATASET.model_copy(update={"fingerprint": "of another"})
    assert build_report(REQUEST, CARD, SAME_DATASET, PATIENTS, []).warnings == ()
    (seen,) = build_report(all_splits, CARD, SAME_DATASET, PATIENTS, []).warnings
    assert "were in the training data" in seen
    (foreign,) = build_report(elsewhere, CARD, another, PATIENTS, []).warnings
    assert "another dataset" in foreign
    assert build_report(REQUEST, CARD, another, PATIENTS, []).warnings == ()  # the same one, prepared again


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (PATIENTS, {"best": "perfect", "median": "half", "worst": "none"}),
        ({"perfect": PATIENTS["perfect"]}, {"best": "perfect"}),
        ({"worse": PATIENTS["worse"]}, {}),
    ],
)
def test_the_best_median_and_worst_patient_are_shown_once(
    shown: dict[str, PatientScore], expected: dict[str, str]
) -> None:
    """Each rank has a picture of its patient; a patient without one is left out, and none is shown twice."""
    pictured = {
        name: PatientScore(score.source, score.by, counts=score.counts, picture=Picture(1, name.encode()))
        if score.picture.png
        else score
        for name, score in shown.items()
    }
    report = build_report(REQUEST, CARD, SAME_DATASET, pictured, [])
    page, pictures = draw_report(report, CARD, SAME_DATASET, pictured, curves={"loss": b"curve"})
    assert pictures.pop("loss") == b"curve"
    assert pictures.pop("precision_recall").startswith(b"\x89PNG")
    assert pictures.pop("reliability").startswith(b"\x89PNG")
    assert pictures.pop("volumes").startswith(b"\x89PNG")
    assert pictures == {f"patient_{rank}": name.encode() for rank, name in expected.items()}
    assert page.count("<img") == 4 + len(expected)


def test_shards_add_up_to_patients_in_any_order() -> None:
    """A patient's slices in several shards are one score, the same whichever shard was scored first."""
    histogram = probability_histogram(np.array([[255]], np.uint8), np.array([[1]], np.uint8))
    first = ShardScore("a", {"x": _score(tp=3), "y": _score(tp=1)}, [])
    second = ShardScore("b", {"x": PatientScore("a", Scorer(), n_slices=1, counts=Counts(1), histogram=histogram)}, [])
    there, back = add_up([first, second]), add_up([second, first])
    assert [*there] == [*back] == ["x", "y"]
    for found in (there["x"], back["x"]):
        assert (found.n_slices, found.counts.tp, found.picture.n_lesion) == (3, 4, 3)
        assert (found.histogram.lesion == (ProbabilityHistogram.empty() + histogram).lesion).all()
