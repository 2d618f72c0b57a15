"""Score a bundle on one split: probabilities on the model's grid, counts on the source's own."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tasks.core.catalog import SPLITS
from tasks.core.errors import ConfigError, DataError, StorageError
from tasks.core.figures import precision_recall_figure
from tasks.core.geometry import resize_slice_to, restore_probability
from tasks.core.metrics import (
    Counts,
    binary_cross_entropy,
    bootstrap_interval,
    count_pixels,
    mean_defined,
    score,
)
from tasks.core.operating_point import ProbabilityHistogram, precision_recall_curve, probability_histogram
from tasks.core.panels import PALETTE, comparison
from tasks.core.postprocess import drop_small_lesions, threshold_probability
from tasks.core.records import DatasetCard, EvaluationReport, FailureRow, ModelCard
from tasks.core.refs import EvaluationRef
from tasks.core.reports import PatientPanel, evaluation_report
from tasks.core.requests import EvaluateRequest
from tasks.engine.actors import load_predictor
from tasks.engine.labelled import reference_mask
from tasks.engine.stream import PredictionStream
from tasks.engine.work import Loaded, Predicted, Work
from tasks.io import bundles, datasets, storage
from tasks.io.formats.raster import write_png
from tasks.io.versions import code_version

logger = logging.getLogger(__name__)

METRICS_FILE, REPORT_FILE = "metrics.json", "report.html"


@dataclass(slots=True)
class PatientScore:
    """What is summed up over a patient's slices.

    Attributes:
        source: Collection the patient comes from.
        n_slices: Slices scored.
        counts: Pixels on the source's grid.
        histogram: Probabilities on the model's grid.
        loss: Sum over slices of the binary cross-entropy on the model's grid.
        panel: PNG of the slice with the largest lesion, and that lesion's size in pixels.
    """

    source: str
    n_slices: int = 0
    counts: Counts = field(default_factory=Counts)
    histogram: ProbabilityHistogram = field(
        default_factory=lambda: ProbabilityHistogram(np.zeros(256, np.int64), np.zeros(256, np.int64))
    )
    loss: float = 0.0
    panel: tuple[int, bytes] = (-1, b"")


@dataclass(frozen=True, slots=True)
class View:
    """Who scores whom.

    Attributes:
        member: Place of the network of an ensemble; None is all of the bundle.
        threshold: At which probability.
        patients: Whom it scores.
    """

    member: int | None
    threshold: float
    patients: set[str]


def evaluate(request: EvaluateRequest) -> EvaluationRef:
    """Score a bundle and publish metrics, figures and report.

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
    patients, failures = _score_patients(request, card, dataset)
    report = _report(request, card, dataset, patients, failures)
    _publish(request, card, report, patients)
    logger.info("evaluate: %d patients, %d slices, %d failed", report.n_patients, report.n_slices, report.n_failed)
    return EvaluationRef(uri=request.report_uri, fingerprint=card.digest, n_failed=report.n_failed)


def _score_patients(
    request: EvaluateRequest, card: ModelCard, dataset: DatasetCard
) -> tuple[dict[str, PatientScore], list[FailureRow]]:
    splits = SPLITS if request.split == "all" else (request.split,)
    shards = [uri for split in splits for uri in datasets.list_shards(request.dataset_uri, split)]
    scored: list[dict[str, Any]] = []  # Any: what `_score_slice` gives
    for view in _views(card, {case.patient_id for case in datasets.read_cases(request.dataset_uri)}):
        work = Work(
            load=partial(_load_shard, view),
            load_model=partial(load_predictor, request.model_uri, "float32", view.member),
            finish=partial(
                _score_shard,
                threshold=view.threshold,
                min_lesion_px=card.min_lesion_px,
                mask_rule=dataset.preparation.mask_rule,
            ),
            chunk_slices=1,
        )
        scored += [row for rows in PredictionStream(work).rows(shards) for shard in rows for row in shard]
    patients: dict[str, PatientScore] = {}
    failures: list[FailureRow] = []
    for row in sorted(scored, key=lambda row: (row["case_id"], row["slice_index"])):
        if row["error_code"]:
            failures.append(FailureRow(uri=row["mask_uri"], error_code=row["error_code"], error=row["error"]))
            continue
        _add(patients.setdefault(row["patient_id"], PatientScore(row["source"])), row)
    return dict(sorted(patients.items())), sorted(failures, key=lambda failure: failure.uri)


def _views(card: ModelCard, patients: set[str]) -> list[View]:
    """Return who scores whom: the networks of an ensemble those they never saw, all together everybody else."""
    views = [
        View(place, member.threshold, patients.intersection(member.held_out))
        for place, member in enumerate(card.members)
    ]
    rest = patients.difference(*(member.held_out for member in card.members))
    return [view for view in [*views, View(None, card.threshold, rest)] if view.patients]


def _load_shard(view: View, shard_uris: Sequence[str]) -> Loaded:
    """Return a shard's slices of the view's patients, which may be none, and their rows as the rest."""
    (uri,) = shard_uris
    found = datasets.read_shard(uri)
    rows = [row for row in found if row["patient_id"] in view.patients]
    images = np.stack([row["image"] for row in rows]) if rows else np.empty((0, *found[0]["image"].shape), np.uint8)
    return Loaded(images, rows, n_held=2 * images.nbytes, n_read=2 * images.nbytes)


def _score_shard(
    shards: Sequence[Predicted], **how: Any
) -> tuple[list[list[dict[str, Any]]], int]:  # Any: what `_score_slice` takes and gives
    """Return the scores of a shard's slices; nothing is written."""
    (shard,) = shards
    pairs = zip(shard.rest, shard.probability, strict=True)
    return [[_score_slice({**row, "probability": answer}, **how) for row, answer in pairs]], 0


def _score_slice(
    row: dict[str, Any], *, threshold: float, min_lesion_px: int, mask_rule: Any
) -> dict[str, Any]:  # Any: a Ray row, and a Literal of PreparationConfig
    """Return what the patient's score needs of a slice; of its pixels, only a picture."""
    scored: dict[str, Any] = {key: row[key] for key in ("case_id", "slice_index", "patient_id", "source", "mask_uri")}
    shape = (row["source_height"], row["source_width"])
    try:
        reference = _source_reference(row, shape, mask_rule)
    except DataError as err:
        return scored | {"error_code": err.code, "error": err.sentence}
    probability = row["probability"]
    mask = threshold_probability(restore_probability(probability, shape), threshold)
    prediction, _ = drop_small_lesions(mask, min_lesion_px)
    counts = count_pixels(prediction, reference)
    histogram = probability_histogram(probability, row["mask"])
    picture = comparison(resize_slice_to(row["image"], shape), prediction=prediction, reference=reference)
    return scored | {
        "error_code": None,
        "error": None,
        "counts": [counts.tp, counts.fp, counts.fn, counts.tn],
        "lesion_histogram": histogram.lesion,
        "healthy_histogram": histogram.healthy,
        "loss": binary_cross_entropy(probability, row["mask"]),
        "panel": write_png(picture, PALETTE) if reference.any() or prediction.any() else b"",
    }


def _source_reference(row: dict[str, Any], shape: tuple[int, int], mask_rule: Any) -> np.ndarray:
    """Return the expert's mask on the source's own grid: from the shard where it is the same, else from the source."""
    if row["mask"].shape == shape:
        return np.asarray(row["mask"])
    try:
        mask = reference_mask(row["mask_uri"], row["slice_index"], mask_rule, row.get("image_uri", ""))
    except StorageError as err:
        reason = type(err.__cause__ or err).__name__  # its text may hold the name of the file
        raise DataError(
            err.code, f"The reference mask could not be read ({reason}). Put it back, evaluate again."
        ) from err
    if mask.shape != shape:
        raise DataError(
            "vanished",
            f"Mask is {mask.shape[1]}×{mask.shape[0]} px now, {shape[1]}×{shape[0]} when the dataset was prepared. "
            "Prepare the dataset again.",
        )
    return mask


def _add(patient: PatientScore, row: dict[str, Any]) -> None:
    counts = Counts(*(int(n) for n in row["counts"]))
    patient.n_slices += 1
    patient.counts += counts
    patient.histogram += ProbabilityHistogram(
        np.asarray(row["lesion_histogram"], np.int64), np.asarray(row["healthy_histogram"], np.int64)
    )
    patient.loss += row["loss"]
    n_lesion = counts.tp + counts.fn
    if row["panel"] and n_lesion > patient.panel[0]:
        patient.panel = (n_lesion, row["panel"])


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
    dices = [score(patient.counts)["dice"] for patient in patients.values()]
    return EvaluationReport(
        split=request.split,
        n_patients=len(patients),
        n_slices=sum(patient.n_slices for patient in patients.values()),
        threshold=card.threshold,
        pooled=_figures(list(patients.values())),
        per_patient=[
            {"patient_id": patient_id, "source": patient.source} | _figures([patient])
            for patient_id, patient in patients.items()
        ],
        per_source={
            source: _figures(members) | {"n_patients": len(members)} for source, members in sorted(by_source.items())
        },
        per_patient_mean={
            "dice": mean_defined(dices),
            "dice_ci95": bootstrap_interval(dices, np.random.default_rng(0)),
            "n_defined": sum(value is not None for value in dices),
            "n_undefined": sum(value is None for value in dices),
        },
        model_digest=card.digest,
        model_uri=request.model_uri,
        dataset_uri=request.dataset_uri,
        dataset_fingerprint=dataset.fingerprint,
        code_version=code_version(),
        n_held_out=len(patients.keys() & {patient for member in card.members for patient in member.held_out}),
        n_failed=len(failures),
        failures=failures,
        warnings=tuple(dict.fromkeys((*card.warnings, *dataset.warnings))),
    )


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


def _publish(
    request: EvaluateRequest, card: ModelCard, report: EvaluationReport, patients: dict[str, PatientScore]
) -> None:
    """Publish pictures and page, then the metrics."""
    figures, panels = _figures_of(request, card, patients), _panels(patients)
    pictures = figures | {f"patient_{panel.rank}": panel.png for panel in panels}
    for name, png in pictures.items():
        storage.publish(storage.join(request.report_uri, "figures", f"{name}.png"), png)
    page = evaluation_report(report, card, figures=figures, panels=panels)
    storage.publish(storage.join(request.report_uri, REPORT_FILE), page.encode())
    storage.publish(storage.join(request.report_uri, METRICS_FILE), report.model_dump_json(indent=2).encode())


def _figures_of(request: EvaluateRequest, card: ModelCard, patients: dict[str, PatientScore]) -> dict[str, bytes]:
    """Return the bundle's training curves and the precision-recall curve of these patients, as PNG by name."""
    curves = {
        path.removeprefix("curves/").removesuffix(".png"): storage.read_bytes(storage.join(request.model_uri, path))
        for path in card.files
        if path.startswith("curves/")
    }
    total = sum((patient.histogram for patient in patients.values()), PatientScore("").histogram)
    thresholds, precision, recall = precision_recall_curve(total)
    return curves | {
        "precision_recall": precision_recall_figure(thresholds, precision, recall, operating_threshold=card.threshold)
    }


def _panels(patients: dict[str, PatientScore]) -> list[PatientPanel]:
    """Return the best, median and worst patient by Dice, each patient once."""
    dices = {patient_id: score(patient.counts)["dice"] for patient_id, patient in patients.items() if patient.panel[1]}
    ranked = sorted(dices, key=lambda patient_id: dices[patient_id] or 0.0, reverse=True)
    places = {"best": 0, "worst": len(ranked) - 1, "median": len(ranked) // 2}
    chosen: dict[str, str] = {}
    for rank, place in places.items():
        if ranked:
            chosen.setdefault(ranked[place], rank)
    return [
        PatientPanel(chosen[patient_id], patient_id, dices[patient_id], patients[patient_id].panel[1])
        for patient_id in ranked
        if patient_id in chosen
    ]
