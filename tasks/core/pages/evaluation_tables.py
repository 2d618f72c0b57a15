"""Tables of the page of an evaluation: by source, by patient, by lesion size, and against an earlier evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tasks.core.metrics import METRICS
from tasks.core.numbers import MIN_PATIENTS, shown_interval
from tasks.core.pages.metric_words import label, meaning
from tasks.core.pages.source_table import shown_spread
from tasks.core.pages.tables import Cell, Column, Table, count, interval, number, percent, score, signed, text
from tasks.core.paired_comparison import PairedComparison
from tasks.core.patient_metrics import PATIENT_METRICS
from tasks.core.schemas import EvaluationReport
from tasks.core.source_statistics import SourceStatistics, Spread

Row = Mapping[str, Any]  # Any: a figure or a name by column

COUNTS: Final = ("tp", "fp", "fn", "tn")
PATIENT: Final = Column("patient", "Id of the patient.", is_text=True)
SOURCE: Final = Column("source", "Collection the patient comes from.", is_text=True)
SLICES: Final = Column("slices", "Number of slices scored.")
PATIENTS: Final = Column("patients", "Number of patients.")
MEAN_DICE: Final = Column("mean Dice", "Mean of the patients' Dice: each patient counts the same.")
MEAN_INTERVAL: Final = Column(
    "95 % interval", f"Range of the mean Dice, by bootstrap over patients; from {MIN_PATIENTS} on."
)
OWN_POINT: Final = (
    Column("threshold", "Threshold this patient was scored with."),
    Column("flips", "Whether mirror images were predicted too.", is_text=True),
)


def by_source(report: EvaluationReport) -> Table:
    """Return the table of sources: mean over patients, then figures pooled over all pixels."""
    columns = (SOURCE, PATIENTS, MEAN_DICE, MEAN_INTERVAL, SLICES, *_columns((*METRICS, "loss")))
    rows = [
        _source_row(name, row["n_patients"], row["per_patient_mean"], row) for name, row in report.per_source.items()
    ]
    pooled = report.pooled | {"n_slices": report.n_slices}
    total = _source_row("all", report.n_patients, report.per_patient_mean, pooled)
    return Table(
        "by-source", "Mean over patients, then figures pooled over all pixels of the source", columns, rows, total
    )


def _source_row(name: str, n_patients: int, mean: Row, row: Row) -> list[Cell]:
    of_mean = (score(mean["dice"]), _interval(mean["dice_ci95"], mean["n_defined"]))
    head = [text(name), count(n_patients), *of_mean, count(row["n_slices"])]
    return [*head, *_figures(row, (*METRICS, "loss"))]


def by_patient(report: EvaluationReport) -> Table:
    """Return the table of patients: figures per pixel and counts, in order of their ids."""
    has_lung = any(row.get("lung_dice") is not None for row in report.per_patient)
    own = OWN_POINT if report.n_held_out else ()
    lung = ("lung_dice", "lung_involvement", "lung_involvement_reference") if has_lung else ()
    columns = (PATIENT, SOURCE, *own, SLICES, *_columns((*METRICS, "loss", *lung, *COUNTS)))
    rows = [
        [
            *(text(str(row["patient_id"])), text(str(row["source"]))),
            *((score(row["threshold"]), text("yes" if row["test_time_flips"] else "no")) if own else ()),
            *(count(row["n_slices"]), *_figures(row, (*METRICS, "loss"))),
            *((score(row["lung_dice"]), *(percent(row[name]) for name in lung[1:])) if lung else ()),
            *(count(row[name]) for name in COUNTS),
        ]
        for row in _sorted(report)
    ]
    return Table("by-patient", "Figures per pixel, over all slices of each patient", columns, rows)


def cases_by_patient(report: EvaluationReport) -> Table | None:
    """Return the table of patients with the metrics that need whole cases; None if no patient has any."""
    names = defined_case_metrics(report)
    if not names:
        return None
    rows = [[text(str(row["patient_id"])), text(str(row["source"])), *_figures(row, names)] for row in _sorted(report)]
    columns = (PATIENT, SOURCE, *_columns(names))
    return Table("cases-by-patient", "Volume, lesions and outlines of each patient", columns, rows)


def case_summary(report: EvaluationReport) -> Table | None:
    """Return the summary of the metrics that need whole cases, by source; None if no patient has any."""
    names = defined_case_metrics(report)
    if not names:
        return None
    sources = [(source, row["per_patient_mean"]) for source, row in report.per_source.items()]
    groups = [("all", report.per_patient_mean), *(sources if len(sources) > 1 else [])]
    columns = (
        Column("metric", "What is measured; its meaning is below.", is_text=True),
        Column("source", "Collection of the patients, or all.", is_text=True),
        Column("patients", "Number of patients for whom the metric is defined."),
        Column("mean", "Mean over these patients."),
        Column("95 %, bootstrap", f"Range of the mean by bootstrap over patients; from {MIN_PATIENTS} on."),
        Column("95 %, Student's t", "Range of the mean by Student's t: wider where patients are few."),
        Column("median", "Half of the patients lie below it."),
    )
    rows = [
        _summary_row(name, source, of["metrics"][name]) for name in names for source, of in groups if of.get("metrics")
    ]
    return Table("case-summary", "Volume, lesions and outlines: summary over patients", columns, rows)


def _summary_row(name: str, source: str, found: Row) -> list[Cell]:
    digits = _digits(name)
    ranges = [_interval(found[key], found["n_defined"], digits=digits) for key in ("ci95", "t_ci95")]
    head = [text(label(name)), text(source), count(found["n_defined"]), number(found["mean"], digits=digits)]
    return [*head, *ranges, number(found["median"], digits=digits)]


def _interval(low_high: Sequence[float] | None, n_patients: int, *, digits: int = 3) -> Cell:
    """Return the cell of an interval, if it is of enough patients."""
    return interval(shown_interval(low_high, n_patients), digits=digits)


def by_lesion_size(report: EvaluationReport) -> Table:
    """Return the table of lesions by size."""
    columns = (
        Column("size", "Size of a lesion, in its own mask.", is_text=True),
        Column("in the reference", "Lesions that the expert drew."),
        Column("found", "Those of them that are found."),
        Column("missed", "Those of them that are not found."),
        Column("recall", "Found over all in the reference."),
        Column("predicted", "Lesions that the model drew."),
        Column("false", "Those of them that are none."),
        Column("precision", "Right over all predicted."),
    )
    rows = [[text(size), *_lesion_cells(n)] for size, n in report.lesions.items()]
    keys = ("n_reference", "n_found", "n_predicted", "n_false")
    total = {key: sum(n[key] for n in report.lesions.values()) for key in keys}
    return Table(
        "by-lesion-size", "Lesions found, missed and false", columns, rows, [text("all"), *_lesion_cells(total)]
    )


def _lesion_cells(n: Mapping[str, int]) -> list[Cell]:
    recall = n["n_found"] / n["n_reference"] if n["n_reference"] else None
    precision = 1 - n["n_false"] / n["n_predicted"] if n["n_predicted"] else None
    reference = (count(n["n_reference"]), count(n["n_found"]), count(n["n_reference"] - n["n_found"]), score(recall))
    return [*reference, count(n["n_predicted"]), count(n["n_false"]), score(precision)]


def by_difference(comparison: PairedComparison) -> Table:
    """Return the table of differences to an earlier evaluation, the patients that got worse first."""
    columns = (
        *(PATIENT, SOURCE),
        Column("Dice now", "Dice of this model."),
        Column("Dice before", "Dice of the earlier model on the same slices."),
        Column("difference", "Dice now minus Dice before; below 0 = worse."),
        Column("got worse", "Whether Dice fell, or false lesion is new in a patient without lesions.", is_text=True),
    )
    rows = [
        [
            *(text(of.patient_id), text(of.source), score(of.dice), score(of.earlier_dice), signed(of.difference)),
            text("yes" if of.is_worse else "no"),
        ]
        for of in comparison.patients
    ]
    return Table("by-difference", "Dice of each patient, now and before", columns, rows)


def by_dataset_source(sources: Sequence[SourceStatistics]) -> Table:
    """Return the table of what each source of the dataset holds."""
    columns = (
        Column("source", "Collection of the dataset.", is_text=True),
        *(PATIENTS, Column("slices", "Slices in the dataset, all splits.")),
        Column("with lesion", "Slices with lesion in the reference."),
        Column("lesion, % of the slice", "Share of the area, of slices with lesion."),
        Column("shorter side, px", "Of the slices as they were delivered."),
        Column("between slices, mm", "Distance of neighbouring slices; volumes only."),
        Column("pixel, mm", "Width of a pixel; volumes only."),
        Column("field of view, mm", "Shorter side of a slice; volumes only."),
    )
    rows = [
        [
            *(text(of.source), count(of.n_patients), count(of.n_slices), count(of.n_lesion_slices)),
            _spread(of.lesion_fraction, scale=100, digits=2),
            _spread(of.side_px),
            _spread(of.slice_spacing_mm, digits=2),
            _spread(of.pixel_spacing_mm, digits=2),
            _spread(of.field_of_view_mm),
        ]
        for of in sources
    ]
    return Table(
        "by-dataset-source", "Sources of the dataset: median (5th to 95th percentile) over slices", columns, rows
    )


def _spread(found: Spread | None, *, scale: float = 1.0, digits: int = 0) -> Cell:
    return Cell(shown_spread(found, scale=scale, digits=digits), found.median if found else None)


def _sorted(report: EvaluationReport) -> list[Row]:
    return sorted(report.per_patient, key=lambda row: str(row["patient_id"]))


def defined_case_metrics(report: EvaluationReport) -> list[str]:
    """Return the metrics of whole cases that are defined for any patient; those in px or in mm are for none."""
    found = report.per_patient_mean.get("metrics", {})
    return [name for name in PATIENT_METRICS if name in found and found[name]["n_defined"]]


def _columns(names: Sequence[str]) -> list[Column]:
    return [Column(label(name), meaning(name)) for name in names]


def _figures(row: Row, names: Sequence[str]) -> list[Cell]:
    return [number(row.get(name), digits=_digits(name)) for name in names]


def _digits(name: str) -> int:
    """Return the decimals of a metric: one for millimetres, pixels, millilitres and counts."""
    return 1 if name.endswith(("_ml", "_mm", "_px", "_per_scan")) else 3
