"""Report of an evaluation: figures, pictures and page from the scores of patients."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tasks.core import calibration, intervals
from tasks.core.addresses import shown_uri
from tasks.core.lesions import SIZES, LesionCounts
from tasks.core.metrics import METRICS, Counts, score
from tasks.core.pages.evaluation import PatientPanel, Rank, evaluation_report
from tasks.core.paired_comparison import PairedComparison
from tasks.core.paired_differences import compare_patients
from tasks.core.patient_metrics import CONVENTIONS, PATIENT_METRICS, RANGES
from tasks.core.pictures.figures import precision_recall_figure, reliability_figure, volumes_figure
from tasks.core.plural import counted
from tasks.core.probability_histogram import ProbabilityHistogram, precision_recall_curve
from tasks.core.rows import FailureRow
from tasks.core.schemas import EMPTY_MASK_CONVENTION, DatasetCard, EvaluationReport, ModelCard
from tasks.core.step_inputs import EvaluateRequest
from tasks.io.versions import code_version, library_versions
from tasks.stages.case_scores import lesions_of, patient_figures, volumes_ml
from tasks.stages.patient_scores import PatientScore

GALLERY_PATIENTS = 3
"""Largest number of patients in each group of pictures: best, median and worst."""


def build_report(
    request: EvaluateRequest,
    card: ModelCard,
    dataset: DatasetCard,
    patients: Mapping[str, PatientScore],
    failures: Sequence[FailureRow],
    *,
    earlier: EvaluationReport | None = None,
) -> EvaluationReport:
    """Return the results of an evaluation, as in metrics.json; with an earlier one, compared with it."""
    everybody = list(patients.values())
    per_patient = _per_patient(patients)
    comparison = _comparison(request, per_patient, earlier) if earlier else None
    by_source: dict[str, list[PatientScore]] = defaultdict(list)
    for patient in everybody:
        by_source[patient.source].append(patient)
    return EvaluationReport(
        split=request.split,
        n_patients=len(patients),
        n_slices=sum(patient.n_slices for patient in patients.values()),
        threshold=card.threshold,
        pooled=_figures(everybody) | _lesion_figures(everybody),
        per_patient=per_patient,
        per_source={
            source: _figures(scores)
            | _lesion_figures(scores)
            | {
                "n_patients": len(scores),
                "per_patient_mean": _mean(scores),
                "lesions": _lesions(scores),
                "calibration": calibration.calibration_of(_histogram(scores)),
            }
            for source, scores in sorted(by_source.items())
        },
        per_patient_mean=_mean(everybody),
        lesions=_lesions(everybody),
        calibration=calibration.calibration_of(_histogram(everybody)),
        comparison=comparison,
        conventions=_conventions(everybody),
        model_digest=card.digest,
        model_uri=shown_uri(request.model_uri),
        dataset_uri=shown_uri(request.dataset_uri),
        dataset_fingerprint=dataset.fingerprint,
        code_version=code_version(),
        versions=library_versions(),
        n_held_out=sum(patient.by.member is not None for patient in patients.values()),
        n_failed=len(failures),
        failures=list(failures),
        warnings=tuple(
            dict.fromkeys(
                (*card.warnings, *dataset.warnings, *_warnings(request, card, dataset), *_left_out(comparison))
            )
        ),
    )


def _per_patient(patients: Mapping[str, PatientScore]) -> list[dict[str, Any]]:  # Any: figures and names
    return [
        {"patient_id": patient_id, "source": patient.source}
        | _figures([patient])
        | patient_figures(patient.cases.values())
        | patient.lung.figures()
        | asdict(patient.by)
        for patient_id, patient in patients.items()
    ]


def _comparison(
    request: EvaluateRequest, per_patient: Sequence[Mapping[str, Any]], earlier: EvaluationReport
) -> PairedComparison:
    return compare_patients(
        per_patient,
        earlier.per_patient,
        earlier_uri=shown_uri(request.compare_with or ""),
        earlier_model_digest=earlier.model_digest,
    )


def _left_out(comparison: PairedComparison | None) -> list[str]:
    if comparison is None or not comparison.n_left_out:
        return []
    n_left_out = counted(comparison.n_left_out, "patient")
    return [f"{n_left_out} left out of the comparison: slices or references differ from the earlier evaluation's"]


def _warnings(request: EvaluateRequest, card: ModelCard, dataset: DatasetCard) -> list[str]:
    """Return warnings if patients are scored by a network that was, or may have been, trained on them."""
    is_another = card.dataset_fingerprint != dataset.fingerprint and card.dataset_uri != shown_uri(request.dataset_uri)
    if is_another:  # at the same URI, patients keep their splits when the dataset is prepared again
        return ["scored on another dataset than the bundle was trained on; that one may hold some of these patients"]
    if card.members or request.split not in {"train", "all"}:
        return []
    return ["some scored patients were in the training data: scores of new patients may be lower"]


def _figures(patients: Sequence[PatientScore]) -> dict[str, Any]:  # Any: float, int or None by name
    """Return counts and ratios, pooled over the slices of these patients."""
    counts = sum((patient.counts for patient in patients), Counts())
    n_slices = sum(patient.n_slices for patient in patients)
    loss = sum(patient.loss for patient in patients) / n_slices if n_slices else None
    return {
        "n_slices": n_slices,
        **score(counts),
        "loss": loss,
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "tn": counts.tn,
    }


def _mean(patients: Sequence[PatientScore]) -> dict[str, Any]:  # Any: a mean, an interval or a count by name
    """Return the mean Dice over these patients, with its intervals, and the summary of every other metric."""
    values = [score(patient.counts) | patient_figures(patient.cases.values()) for patient in patients]
    metrics = {
        name: intervals.summary_of([of_one[name] for of_one in values], within=RANGES.get(name))
        for name in (*METRICS, *PATIENT_METRICS)
    }
    of_dice = metrics["dice"]
    return {
        "dice": of_dice["mean"],
        "dice_ci95": of_dice["ci95"],
        "n_defined": of_dice["n_defined"],
        "n_undefined": of_dice["n_undefined"],
        "metrics": metrics,
    }


def _lesion_figures(patients: Sequence[PatientScore]) -> dict[str, float | int | None]:
    """Return the ratios of lesions, pooled over all cases whose lesions are known."""
    cases = [case for patient in patients for case in patient.cases.values() if case.lesions is not None]
    lesions = sum(lesions_of(cases), LesionCounts())
    return {
        "n_cases": len(cases),
        "lesion_recall": lesions.recall,
        "lesion_precision": lesions.precision,
        "lesion_f1": lesions.f1,
        "false_lesions_per_scan": lesions.n_false / len(cases) if cases else None,
    }


def _lesions(patients: Sequence[PatientScore]) -> dict[str, dict[str, int]]:
    """Return the numbers of lesions by size."""
    found = lesions_of(case for patient in patients for case in patient.cases.values())
    return {size: asdict(counts) for size, counts in zip(SIZES, found, strict=True)}


def _histogram(patients: Sequence[PatientScore]) -> ProbabilityHistogram:
    return sum((patient.histogram for patient in patients), ProbabilityHistogram.empty())


def _conventions(patients: Sequence[PatientScore]) -> dict[str, str]:
    """Return what the definitions of the figures leave open, a sentence or two each."""
    few = f" {counted(len(patients), 'patient')} are few: single patients move every figure."
    return {
        "empty_masks": EMPTY_MASK_CONVENTION,
        **CONVENTIONS,
        "calibration": calibration.CONVENTION,
        "intervals": intervals.CONVENTION + (few if len(patients) < intervals.FEW_PATIENTS else ""),
    }


def draw_report(
    report: EvaluationReport,
    card: ModelCard,
    dataset: DatasetCard,
    patients: Mapping[str, PatientScore],
    *,
    curves: Mapping[str, bytes],
) -> tuple[str, dict[str, bytes]]:
    """Return the HTML page of an evaluation, and its pictures as PNG by name.

    Args:
        report: Results of the evaluation.
        card: Card of the bundle.
        dataset: Card of the dataset.
        patients: Scores by `patient_id`.
        curves: Training curves of the bundle, PNG by name.
    """
    everybody = list(patients.values())
    total = _histogram(everybody)
    figures = {
        **curves,
        "precision_recall": _precision_recall(total, card.threshold),
        "reliability": reliability_figure(calibration.Reliability.of(total)),
        "volumes": _volumes(everybody),
    }
    panels = _panels(patients)
    page = evaluation_report(report, card, dataset, figures=figures, panels=panels)
    return page, figures | _named(panels)


def _named(panels: Sequence[PatientPanel]) -> dict[str, bytes]:
    """Return the pictures by name: patient_best, patient_best_2 and so on, the extreme patient of each group first."""
    groups = {rank: [panel.png for panel in panels if panel.rank == rank] for rank in ("best", "median", "worst")}
    groups["worst"].reverse()
    return {
        f"patient_{rank}{f'_{number}' if number > 1 else ''}": png
        for rank, pictures in groups.items()
        for number, png in enumerate(pictures, start=1)
    }


def _volumes(patients: Sequence[PatientScore]) -> bytes:
    """Return the plot of predicted and reference volumes as PNG: in ml of whom the spacing is known, else in voxels."""
    in_ml = [volumes for volumes in (volumes_ml(patient.cases.values()) for patient in patients) if volumes]
    counts = [patient.counts for patient in patients]
    shown = in_ml or [(c.tp + c.fp, c.tp + c.fn) for c in counts]
    predicted, reference = np.array(shown, np.float64).reshape(-1, 2).T
    return volumes_figure(predicted, reference, unit="ml" if in_ml else "voxels")


def _precision_recall(total: ProbabilityHistogram, operating_threshold: float) -> bytes:
    """Return the precision-recall curve over the pixels of a histogram, as PNG."""
    thresholds, precision, recall = precision_recall_curve(total)
    return precision_recall_figure(thresholds, precision, recall, operating_threshold=operating_threshold)


def _panels(patients: Mapping[str, PatientScore]) -> list[PatientPanel]:
    """Return the best, median and worst patients by Dice, each patient once, those of highest Dice first."""
    shown = {patient_id: patient for patient_id, patient in patients.items() if patient.picture.png}
    dices = {patient_id: score(patient.counts)["dice"] for patient_id, patient in shown.items()}
    ranked = sorted(dices, key=lambda patient_id: dices[patient_id] or 0.0, reverse=True)
    chosen = _ranks(len(ranked))
    return [
        PatientPanel(chosen[place], patient_id, dices[patient_id], picture.png, picture.slice_index)
        for place, patient_id in enumerate(ranked)
        if place in chosen
        for picture in [patients[patient_id].picture]
    ]


def _ranks(n_patients: int) -> dict[int, Rank]:
    """Return the group of each place that is shown, in groups of up to `GALLERY_PATIENTS` that do not overlap."""
    size = max(1, min(GALLERY_PATIENTS, n_patients // 3))
    middle = (n_patients - size + 1) // 2
    starts: dict[Rank, int] = {"best": 0, "worst": max(0, n_patients - size), "median": middle}
    chosen: dict[int, Rank] = {}
    for rank, start in starts.items():
        for place in range(start, min(start + size, n_patients)):
            chosen.setdefault(place, rank)
    return chosen
