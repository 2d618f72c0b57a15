"""Reports as self-contained HTML pages, and their short forms for Prefect's artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.core.addresses import shown_uri
from tasks.core.handles import SegmentationPlan
from tasks.core.history import CURVES
from tasks.core.markdown import as_code, escaped
from tasks.core.metrics import METRICS
from tasks.core.pages import data_uri, number, render
from tasks.core.plural import counted
from tasks.core.rows import FailureRow, ScanRow
from tasks.core.schemas import (
    EMPTY_MASK_CONVENTION,
    INFLATION,
    LEAKY,
    DatasetCard,
    EvaluationReport,
    LeakageAudit,
    ModelCard,
)

MAX_ROWS = 500
"""Largest number of rows of a table in a page; the whole table is beside it as Parquet or JSON."""


@dataclass(frozen=True, slots=True)
class PatientPanel:
    """Picture of a patient: image, prediction and reference of the slice with the largest lesion.

    Attributes:
        rank: best, median or worst by Dice.
        patient_id: Id of the patient.
        dice: Dice of the patient; None if undefined.
        png: The picture as PNG.
    """

    rank: str
    patient_id: str
    dice: float | None
    png: bytes


def evaluation_report(
    report: EvaluationReport, card: ModelCard, *, figures: Mapping[str, bytes], panels: Sequence[PatientPanel]
) -> str:
    """Return the HTML page of an evaluation.

    Args:
        report: Results of the evaluation.
        card: Card of the bundle.
        figures: PNG by name: the curves of `CURVES` and `precision_recall`.
        panels: Patients to show, best first.
    """
    return render(
        "evaluation.html.j2",
        report=report,
        card=card,
        metrics=list(METRICS),
        case_metrics=_defined_metrics(report),
        groups=_groups(report),
        inflation=INFLATION if LEAKY in report.warnings else None,
        has_lung=any(row.get("lung_dice") is not None for row in report.per_patient),
        curves=[data_uri(figures[name]) for name in CURVES if name in figures],
        precision_recall=data_uri(figures["precision_recall"]),
        further=[data_uri(figures[name]) for name in ("reliability", "volumes") if name in figures],
        panels=[(panel, data_uri(panel.png)) for panel in panels],
    )


def _groups(report: EvaluationReport) -> list[tuple[str, dict[str, Any]]]:  # Any: see the record
    """Return the summaries of all patients, and of each source where there are several."""
    sources = [(source, row["per_patient_mean"]) for source, row in report.per_source.items()]
    return [("all", report.per_patient_mean), *(sources if len(sources) > 1 else [])]


def _defined_metrics(report: EvaluationReport) -> list[str]:
    """Return the metrics of whole cases that are defined for any patient; those in px or in mm are for none."""
    found = report.per_patient_mean.get("metrics", {})
    return [name for name, of in found.items() if name not in METRICS and of["n_defined"]]


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
        "",
        f"Pooled over {report.n_slices} slices: {number(report.pooled['dice'])}.",
        "",
        "| metric | pooled |",
        "|---|---|",
        *(f"| {name} | {number(report.pooled[name])} |" for name in METRICS),
        "",
        EMPTY_MASK_CONVENTION,
        "",
        f"Report: {as_code(shown_uri(report.model_uri))} {_how_scored(report)}.",
    ]
    return "\n".join(lines)


def _mean_dice(of: dict[str, Any]) -> str:  # Any: a mean, an interval or a count by name
    """Return a mean over patients as text, with its interval if there is one."""
    low_high = of["dice_ci95"]
    shown = f" (95 % interval {low_high[0]:.3f} to {low_high[1]:.3f})" if low_high else ""
    return f"**{number(of['dice'])}**{shown}"


def _how_scored(report: EvaluationReport) -> str:
    if not report.n_held_out:
        return f"scored with threshold {report.threshold:.3f}"
    return (
        f"cross-validated: {counted(report.n_held_out, 'patient')} scored by the network not trained on them, at the "
        f"operating point chosen on the others; new scans use threshold {report.threshold:.3f}"
    )


def failures_markdown(title: str, failures: Sequence[FailureRow | ScanRow], *, n_all: int) -> str:
    """Return the rejected inputs by error code as Markdown, for Prefect; without file names."""
    if not failures:
        return f"# {title}\n\nNothing was rejected; {n_all} inputs."
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for failure in failures:
        code = str(failure.error_code)
        first.setdefault(code, escaped(failure.error or ""))
        counts[code] = counts.get(code, 0) + 1
    lines = [f"| {code} | {counts[code]} | {first[code]} |" for code in sorted(counts)]
    return "\n".join(
        [
            f"# {title}",
            "",
            f"{len(failures)} of {counted(n_all, 'input')} rejected.",
            "",
            "| code | count | example |",
            "|---|---|---|",
            *lines,
        ]
    )


def plan_markdown(plan: SegmentationPlan) -> str:
    """Return the plan of a segmentation as Markdown, for Prefect."""
    shown = [f"- {as_code(scan_id)}" for scan_id in plan.due[:MAX_ROWS]]
    return "\n".join(["# Scans that would be segmented", "", plan.sentence(), "", *shown])


def dataset_markdown(card: DatasetCard) -> str:
    """Return the summary of a dataset as Markdown, for Prefect."""
    lines = [f"| {split} | {n} |" for split, n in card.n_slices_by_split.items()]
    return "\n".join(
        [
            "# Dataset",
            *(f"**{escaped(warning)}**\n" for warning in card.warnings),
            f"{card.n_slices} slices of {card.n_cases} cases and {card.n_patients} patients at {card.size_px} px.",
            f"{counted(card.n_failed, 'slice')} rejected.",
            *([f"{counted(card.n_lung_masks, 'slice')} with a lung mask."] if card.n_lung_masks else []),
            *([_leakage(card.leakage)] if card.leakage else []),
            "",
            "| split | slices |",
            "|---|---|",
            *lines,
        ]
    )


def _leakage(audit: LeakageAudit) -> str:
    return (
        f"{counted(audit.n_slices, 'slice')} compared with those of other patients: "
        f"{counted(audit.n_near_duplicates, 'pair')} nearly the same, {audit.n_across_splits} across splits. "
        f"{counted(audit.n_patients_in_several_splits, 'patient')} in several splits."
    )
