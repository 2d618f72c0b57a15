"""Page of an evaluation: self-contained HTML, and its short form for Prefect's artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from tasks.core.addresses import shown_uri
from tasks.core.history import CURVES
from tasks.core.metrics import METRICS
from tasks.core.numbers import MIN_PATIENTS, TOO_FEW, count, interval, score, shown_interval
from tasks.core.pages import evaluation_tables as tables
from tasks.core.pages.markdown import as_code, escaped
from tasks.core.pages.metric_words import label, meaning
from tasks.core.pages.rendering import data_uri, render
from tasks.core.pictures.overlap import OVERLAP_COLOURS
from tasks.core.plural import counted
from tasks.core.schemas import EMPTY_MASK_CONVENTION, INFLATION, LEAKY, DatasetCard, EvaluationReport, ModelCard

Rank = Literal["best", "median", "worst"]

COLOUR_WORDS: Final = {
    "true positive": "found: lesion in prediction and reference",
    "false positive": "false: lesion in the prediction only",
    "false negative": "missed: lesion in the reference only",
}
CURVE_WORDS: Final = {
    "f1": "Dice by epoch",
    "precision": "Precision by epoch",
    "recall": "Recall by epoch",
    "recall_precision": "Recall and precision by epoch",
    "accuracy": "Accuracy by epoch",
    "loss": "Loss by epoch",
}
MAX_FAILURES: Final = 500
"""Largest number of failures in the page; all are in metrics.json."""


@dataclass(frozen=True, slots=True)
class PatientPanel:
    """Picture of a patient: the slice with the largest lesion, and the overlap of its masks beside it.

    Attributes:
        rank: Group by Dice.
        patient_id: Id of the patient.
        dice: Dice of the patient; None if undefined.
        png: The picture as PNG.
        slice_index: Position of the slice in its case.
    """

    rank: Rank
    patient_id: str
    dice: float | None
    png: bytes
    slice_index: int = 0


def evaluation_report(
    report: EvaluationReport,
    card: ModelCard,
    dataset: DatasetCard,
    *,
    figures: Mapping[str, bytes],
    panels: Sequence[PatientPanel],
) -> str:
    """Return the HTML page of an evaluation.

    Args:
        report: Results of the evaluation.
        card: Card of the bundle.
        dataset: Card of the dataset.
        figures: PNG by name: the curves of `CURVES`, `precision_recall`, `reliability` and `volumes`.
        panels: Patients to show, best first.
    """
    return render(
        "evaluation.html.j2",
        report=report,
        card=card,
        dataset=dataset,
        mean_interval=shown_interval(report.per_patient_mean["dice_ci95"], report.per_patient_mean["n_defined"]),
        too_few=TOO_FEW,
        min_patients=MIN_PATIENTS,
        has_few=any(row["n_patients"] < MIN_PATIENTS for row in report.per_source.values()),
        inflation=INFLATION if LEAKY in report.warnings else None,
        by_source=tables.by_source(report),
        by_patient=tables.by_patient(report),
        cases_by_patient=tables.cases_by_patient(report),
        case_summary=tables.case_summary(report),
        case_meanings=[(label(name), meaning(name)) for name in tables.defined_case_metrics(report)],
        by_lesion_size=tables.by_lesion_size(report) if report.pooled.get("n_cases") else None,
        by_difference=tables.by_difference(report.comparison) if report.comparison else None,
        by_dataset_source=tables.by_dataset_source(dataset.sources) if dataset.sources else None,
        curves=[(CURVE_WORDS.get(name, name), data_uri(figures[name])) for name in CURVES if name in figures],
        charts={name: data_uri(png) for name, png in figures.items() if name not in CURVES},
        gallery=_gallery(panels),
        colours=[(name, _hex(OVERLAP_COLOURS[name]), words) for name, words in COLOUR_WORDS.items()],
        max_failures=MAX_FAILURES,
    )


def _gallery(panels: Sequence[PatientPanel]) -> list[tuple[str, list[tuple[PatientPanel, str]]]]:
    """Return the pictures with a heading by rank; without headings, in one row, if each rank has one picture."""
    pictures = [(panel, data_uri(panel.png)) for panel in panels]
    ranks = list(dict.fromkeys(panel.rank for panel in panels))
    if len(ranks) == len(panels):
        return [("", pictures)] if pictures else []
    return [(rank.capitalize(), [pair for pair in pictures if pair[0].rank == rank]) for rank in ranks]


def evaluation_markdown(report: EvaluationReport) -> str:
    """Return the summary of an evaluation as Markdown, for Prefect."""
    lines = [
        f"# Evaluation on {'all patients' if report.split == 'all' else report.split}",
        *(f"**{escaped(warning)}**\n" for warning in report.warnings),
        f"Mean Dice of {counted(report.n_patients, 'patient')}: {_mean_dice(report.per_patient_mean)}.",
        *(
            f"- {escaped(source)}, {counted(row['n_patients'], 'patient')}: {_mean_dice(row['per_patient_mean'])}"
            for source, row in report.per_source.items()
            if len(report.per_source) > 1
        ),
        *(
            ["", f"Against {as_code(report.comparison.earlier_uri)}: {escaped(report.comparison.sentence())}"]
            if report.comparison
            else []
        ),
        "",
        f"Pooled over {count(report.n_slices)} slices: {score(report.pooled['dice'])}.",
        "",
        "| metric | pooled |",
        "|---|---|",
        *(f"| {label(name)} | {score(report.pooled[name])} |" for name in METRICS),
        "",
        EMPTY_MASK_CONVENTION,
        "",
        f"Report: {as_code(shown_uri(report.model_uri))} {_how_scored(report)}.",
    ]
    return "\n".join(lines)


def _mean_dice(of: dict[str, Any]) -> str:  # Any: a mean, an interval or a count by name
    """Return a mean over patients as text, with its interval if there is one."""
    low_high = shown_interval(of["dice_ci95"], of["n_defined"])
    return f"**{score(of['dice'], 'undefined')}** ({f'95 % interval {interval(low_high)}' if low_high else TOO_FEW})"


def _how_scored(report: EvaluationReport) -> str:
    if not report.n_held_out:
        return f"scored with threshold {score(report.threshold)}"
    return (
        f"cross-validated: {counted(report.n_held_out, 'patient')} scored by the network not trained on them, at the "
        f"operating point chosen on the others; new scans use threshold {score(report.threshold)}"
    )


def _hex(colour: tuple[int, int, int]) -> str:
    return f"#{bytes(colour).hex()}"
