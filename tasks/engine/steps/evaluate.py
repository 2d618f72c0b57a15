"""Score a bundle on one split: probabilities on the model's grid, counts on the source's own."""

import logging
from collections import defaultdict
from dataclasses import asdict
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from tasks.core.addresses import shown_uri
from tasks.core.catalog import SPLITS
from tasks.core.errors import ConfigError
from tasks.core.figures import precision_recall_figure
from tasks.core.handles import EvaluationHandle
from tasks.core.metrics import Counts, bootstrap_interval, mean_defined, score
from tasks.core.operating_point import ProbabilityHistogram, precision_recall_curve
from tasks.core.reports import PatientPanel, evaluation_report
from tasks.core.rows import FailureRow
from tasks.core.schemas import DatasetCard, EvaluationReport, ModelCard
from tasks.core.step_inputs import EvaluateRequest
from tasks.engine.inference.bundle_model import LoadModel, load_predictor
from tasks.engine.inference.chunks import PredictionSpec
from tasks.engine.inference.stream import PredictionStream
from tasks.io import storage
from tasks.io.outputs import bundles, datasets, evaluations
from tasks.io.outputs.ownership import claim
from tasks.io.versions import code_version
from tasks.stages.score_slices import PatientScore, ShardScore, load_shard, score_shard, views

logger = logging.getLogger(__name__)


def evaluate(request: EvaluateRequest, *, load_model: LoadModel = load_predictor) -> EvaluationHandle:
    """Score a bundle and publish metrics, figures and report.

    Args:
        request: What to do.
        load_model: How the model of a bundle is had; called in the actors.

    Raises:
        ConfigError: If dataset and bundle do not fit each other.
        ModelError: If the bundle is damaged or fails its self-test.
    """
    card, dataset = bundles.read_card(request.model_uri), datasets.read_card(request.dataset_uri)
    if card.input_size_px != dataset.size_px:
        raise ConfigError(
            f"The model takes {card.input_size_px} px, the dataset holds {dataset.size_px} px. "
            f"Prepare it with preparation.size_px {card.input_size_px}."
        )
    claim(request.report_uri, "evaluation")
    patients, failures = _score_patients(request, card, dataset, load_model)
    report = _report(request, card, dataset, patients, failures)
    _publish(request, card, report, patients)
    logger.info("evaluate: %d patients, %d slices, %d failed", report.n_patients, report.n_slices, report.n_failed)
    return EvaluationHandle(uri=request.report_uri, fingerprint=card.digest, n_failed=report.n_failed)


def _score_patients(
    request: EvaluateRequest, card: ModelCard, dataset: DatasetCard, load_model: LoadModel
) -> tuple[dict[str, PatientScore], list[FailureRow]]:
    """Return the score of each patient, and what could not be scored."""
    splits = SPLITS if request.split == "all" else (request.split,)
    shards = [uri for split in splits for uri in datasets.list_shards(request.dataset_uri, split)]
    scored: list[ShardScore] = []
    cases = datasets.read_cases(request.dataset_uri)
    for view in views(card, {case.patient_id for case in cases if case.split in splits}):
        work = PredictionSpec(
            load=partial(load_shard, view),
            load_model=partial(load_model, request.model_uri, "float32", view.by.member),
            finish=partial(
                score_shard,
                view=view,
                min_lesion_px=card.min_lesion_px,
                mask_rule=dataset.preparation.mask_rule,
            ),
            chunk_slices=1,
        )
        scored += [shard for rows in PredictionStream(work).rows(shards) for shard in rows]
    patients: dict[str, PatientScore] = {}
    for shard in sorted(scored, key=lambda shard: shard.uri):  # in one order, so that sums are the same every time
        for patient_id, score_of in shard.patients.items():
            patients[patient_id] = patients[patient_id] + score_of if patient_id in patients else score_of
    failures = [failure for shard in scored for failure in shard.failures]
    for where in {failure.where for failure in failures if failure.where}:
        logger.error("evaluate: a mask brought out a bug, %s", where)
    return dict(sorted(patients.items())), sorted(failures, key=lambda failure: failure.uri)


def _report(
    request: EvaluateRequest,
    card: ModelCard,
    dataset: DatasetCard,
    patients: dict[str, PatientScore],
    failures: list[FailureRow],
) -> EvaluationReport:
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
            {"patient_id": patient_id, "source": patient.source} | _figures([patient]) | asdict(patient.by)
            for patient_id, patient in patients.items()
        ],
        per_source={
            source: _figures(members) | {"n_patients": len(members), "per_patient_mean": _mean(members)}
            for source, members in sorted(by_source.items())
        },
        per_patient_mean=_mean(list(patients.values())),
        model_digest=card.digest,
        model_uri=shown_uri(request.model_uri),
        dataset_uri=shown_uri(request.dataset_uri),
        dataset_fingerprint=dataset.fingerprint,
        code_version=code_version(),
        n_held_out=sum(patient.by.member is not None for patient in patients.values()),
        n_failed=len(failures),
        failures=failures,
        warnings=tuple(dict.fromkeys((*card.warnings, *dataset.warnings, *_warnings(request, card, dataset)))),
    )


def _warnings(request: EvaluateRequest, card: ModelCard, dataset: DatasetCard) -> list[str]:
    """Say it where patients are scored by a network that was, or may have been, trained on them."""
    is_another = card.dataset_fingerprint != dataset.fingerprint and card.dataset_uri != shown_uri(request.dataset_uri)
    if is_another:  # at one address patients keep their sides, whatever is prepared anew
        return ["scored on another dataset than the bundle was trained on, which may have held some of these patients"]
    if card.members or request.split not in {"train", "all"}:
        return []
    return ["patients the network was trained on are among those scored: this says little of new ones"]


def _figures(members: list[PatientScore]) -> dict[str, Any]:  # Any: float, int or None by name
    """Return counts and every ratio over them, pooled over these patients' slices."""
    counts = sum((patient.counts for patient in members), Counts())
    n_slices = sum(patient.n_slices for patient in members)
    loss = sum(patient.loss for patient in members) / n_slices if n_slices else None
    return {
        "n_slices": n_slices,
        **score(counts),
        "loss": loss,
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "tn": counts.tn,
    }


def _mean(members: list[PatientScore]) -> dict[str, Any]:  # Any: a mean, an interval or a count by name
    """Return the mean over these patients' Dice, each counting the same, with its interval."""
    dices = [score(patient.counts)["dice"] for patient in members]
    return {
        "dice": mean_defined(dices),
        "dice_ci95": bootstrap_interval(dices, np.random.default_rng(0)),
        "n_defined": sum(value is not None for value in dices),
        "n_undefined": sum(value is None for value in dices),
    }


def _publish(
    request: EvaluateRequest, card: ModelCard, report: EvaluationReport, patients: dict[str, PatientScore]
) -> None:
    """Publish pictures and page, then the metrics."""
    figures, panels = _figures_of(request, card, patients), _panels(patients)
    pictures = figures | {f"patient_{panel.rank}": panel.png for panel in panels}
    page = evaluation_report(report, card, figures=figures, panels=panels)
    evaluations.publish(request.report_uri, report, page=page, pictures=pictures)


def _figures_of(request: EvaluateRequest, card: ModelCard, patients: dict[str, PatientScore]) -> dict[str, bytes]:
    """Return the bundle's training curves and the precision-recall curve of these patients, as PNG by name."""
    curves = {
        PurePosixPath(path).stem: storage.read_bytes(storage.join(request.model_uri, path))
        for path in card.files
        if path.startswith(f"{bundles.CURVES_FOLDER}/")
    }
    total = sum((patient.histogram for patient in patients.values()), ProbabilityHistogram.empty())
    thresholds, precision, recall = precision_recall_curve(total)
    return curves | {
        "precision_recall": precision_recall_figure(thresholds, precision, recall, operating_threshold=card.threshold)
    }


def _panels(patients: dict[str, PatientScore]) -> list[PatientPanel]:
    """Return the best, median and worst patient by Dice, each patient once."""
    shown = {patient_id: patient for patient_id, patient in patients.items() if patient.picture.png}
    dices = {patient_id: score(patient.counts)["dice"] for patient_id, patient in shown.items()}
    ranked = sorted(dices, key=lambda patient_id: dices[patient_id] or 0.0, reverse=True)
    places = {"best": 0, "worst": len(ranked) - 1, "median": len(ranked) // 2}
    chosen: dict[str, str] = {}
    for rank, place in places.items():
        if ranked:
            chosen.setdefault(ranked[place], rank)
    return [
        PatientPanel(chosen[patient_id], patient_id, dices[patient_id], patients[patient_id].picture.png)
        for patient_id in ranked
        if patient_id in chosen
    ]
