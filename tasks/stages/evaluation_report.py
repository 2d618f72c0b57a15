"""Report of an evaluation: figures, pictures and page from the scores of patients."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tasks.core.addresses import shown_uri
from tasks.core.figures import precision_recall_figure
from tasks.core.metrics import Counts, bootstrap_interval, mean_defined, score
from tasks.core.operating_point import ProbabilityHistogram, precision_recall_curve
from tasks.core.reports import PatientPanel, evaluation_report
from tasks.core.rows import FailureRow
from tasks.core.schemas import DatasetCard, EvaluationReport, ModelCard
from tasks.core.step_inputs import EvaluateRequest
from tasks.io.versions import code_version
from tasks.stages.case_scores import patient_figures
from tasks.stages.patient_scores import PatientScore


def build_report(
    request: EvaluateRequest,
    card: ModelCard,
    dataset: DatasetCard,
    patients: Mapping[str, PatientScore],
    failures: Sequence[FailureRow],
) -> EvaluationReport:
    """Return the results of an evaluation, as in metrics.json."""
    by_source: dict[str, list[PatientScore]] = defaultdict(list)
    for patient in patients.values():
        by_source[patient.source].append(patient)
    return EvaluationReport(
        split=request.split,
        n_patients=len(patients),
        n_slices=sum(patient.n_slices for patient in patients.values()),
        threshold=card.threshold,
        pooled=_figures(list(patients.values())),
        per_patient=[
            {"patient_id": patient_id, "source": patient.source}
            | _figures([patient])
            | patient_figures(patient.cases.values())
            | patient.lung.figures()
            | asdict(patient.by)
            for patient_id, patient in patients.items()
        ],
        per_source={
            source: _figures(scores) | {"n_patients": len(scores), "per_patient_mean": _mean(scores)}
            for source, scores in sorted(by_source.items())
        },
        per_patient_mean=_mean(list(patients.values())),
        model_digest=card.digest,
        model_uri=shown_uri(request.model_uri),
        dataset_uri=shown_uri(request.dataset_uri),
        dataset_fingerprint=dataset.fingerprint,
        code_version=code_version(),
        n_held_out=sum(patient.by.member is not None for patient in patients.values()),
        n_failed=len(failures),
        failures=list(failures),
        warnings=tuple(dict.fromkeys((*card.warnings, *dataset.warnings, *_warnings(request, card, dataset)))),
    )


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
    """Return the mean Dice over these patients, with its interval."""
    dices = [score(patient.counts)["dice"] for patient in patients]
    return {
        "dice": mean_defined(dices),
        "dice_ci95": bootstrap_interval(dices, np.random.default_rng(0)),
        "n_defined": sum(value is not None for value in dices),
        "n_undefined": sum(value is None for value in dices),
    }


def draw_report(
    report: EvaluationReport, card: ModelCard, patients: Mapping[str, PatientScore], *, curves: Mapping[str, bytes]
) -> tuple[str, dict[str, bytes]]:
    """Return the HTML page of an evaluation, and its pictures as PNG by name.

    Args:
        report: Results of the evaluation.
        card: Card of the bundle.
        patients: Scores by `patient_id`.
        curves: Training curves of the bundle, PNG by name.
    """
    figures = {**curves, "precision_recall": _precision_recall(patients, card.threshold)}
    panels = _panels(patients)
    page = evaluation_report(report, card, figures=figures, panels=panels)
    return page, figures | {f"patient_{panel.rank}": panel.png for panel in panels}


def _precision_recall(patients: Mapping[str, PatientScore], operating_threshold: float) -> bytes:
    """Return the precision-recall curve over the slices of these patients, as PNG."""
    total = sum((patient.histogram for patient in patients.values()), ProbabilityHistogram.empty())
    thresholds, precision, recall = precision_recall_curve(total)
    return precision_recall_figure(thresholds, precision, recall, operating_threshold=operating_threshold)


def _panels(patients: Mapping[str, PatientScore]) -> list[PatientPanel]:
    """Return the best, median and worst patient by Dice, each patient once."""
    shown = {patient_id: patient for patient_id, patient in patients.items() if patient.picture.png}
    dices = {patient_id: score(patient.counts)["dice"] for patient_id, patient in shown.items()}
    ranked = sorted(dices, key=lambda patient_id: dices[patient_id] or 0.0, reverse=True)
    ranks = {"best": 0, "worst": len(ranked) - 1, "median": len(ranked) // 2}
    chosen: dict[str, str] = {}
    for rank, index in ranks.items():
        if ranked:
            chosen.setdefault(ranked[index], rank)
    return [
        PatientPanel(chosen[patient_id], patient_id, dices[patient_id], patients[patient_id].picture.png)
        for patient_id in ranked
        if patient_id in chosen
    ]
