"""Page of an evaluation: self-contained HTML, and its short form for Prefect's artifacts."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.core.addresses import shown_uri
from tasks.core.history import CURVES
from tasks.core.markdown import as_code, escaped
from tasks.core.metrics import METRICS
from tasks.core.plural import counted
from tasks.core.schemas import EMPTY_MASK_CONVENTION, INFLATION, LEAKY, EvaluationReport, ModelCard


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
    return _render(
        "evaluation.html.j2",
        report=report,
        card=card,
        metrics=list(METRICS),
        case_metrics=_defined_metrics(report),
        groups=_groups(report),
        inflation=INFLATION if LEAKY in report.warnings else None,
        has_lung=any(row.get("lung_dice") is not None for row in report.per_patient),
        curves=[_data_uri(figures[name]) for name in CURVES if name in figures],
        precision_recall=_data_uri(figures["precision_recall"]),
        further=[_data_uri(figures[name]) for name in ("reliability", "volumes") if name in figures],
        panels=[(panel, _data_uri(panel.png)) for panel in panels],
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
        f"Pooled over {report.n_slices} slices: {_number(report.pooled['dice'])}.",
        "",
        "| metric | pooled |",
        "|---|---|",
        *(f"| {name} | {_number(report.pooled[name])} |" for name in METRICS),
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
    return f"**{_number(of['dice'])}**{shown}"


def _how_scored(report: EvaluationReport) -> str:
    if not report.n_held_out:
        return f"scored with threshold {report.threshold:.3f}"
    return (
        f"cross-validated: {counted(report.n_held_out, 'patient')} scored by the network not trained on them, at the "
        f"operating point chosen on the others; new scans use threshold {report.threshold:.3f}"
    )


def _render(template: str, **content: Any) -> str:  # Any: whatever the template shows
    environment = Environment(
        loader=PackageLoader("tasks.core"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    environment.filters["counted"] = counted
    environment.filters["interval"] = _interval
    environment.filters["words"] = lambda name: name.replace("_", " ")
    return environment.get_template(template).render(**content)


def _number(value: float | int | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.3f}"


def _interval(low_high: Sequence[float] | None) -> str:
    return f"{low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else "–"


def _percent(share: float | None) -> str:
    return "undefined" if share is None else f"{100 * share:.1f}"


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
