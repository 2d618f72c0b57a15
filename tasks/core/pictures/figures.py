"""Figures as PNG: training curves, precision against recall, calibration, and volumes."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from tasks.core.calibration import Reliability
from tasks.core.history import CURVES, EpochRow
from tasks.core.numbers import MIN_PATIENTS, score

NO_LIMITS = f"fewer than {MIN_PATIENTS} patients: no limits of agreement"
TRAIN_COLOUR, VAL_COLOUR = "#1f6f8b", "#d1495b"


def training_curves(history: Sequence[EpochRow]) -> dict[str, bytes]:
    """Return the training curves by name of `CURVES`, each as PNG."""
    return {name: _history_curve(history, columns) for name, columns in CURVES.items()}


def _history_curve(history: Sequence[EpochRow], columns: tuple[str, ...]) -> bytes:
    figure, axes = _figure()
    epochs = [row["epoch"] for row in history]
    for column, line in zip(columns, ("-", "--"), strict=False):
        for side, colour in (("train", TRAIN_COLOUR), ("val", VAL_COLOUR)):
            values = [np.nan if row[f"{side}_{column}"] is None else row[f"{side}_{column}"] for row in history]
            axes.plot(epochs, values, line, color=colour, marker="o", markersize=3, label=f"{side} {_name(column)}")
    title = " and ".join(map(_name, columns))
    axes.set(xlabel="epoch", ylabel=title, title=f"{title}, pooled over pixels" if columns != ("loss",) else "loss")
    if columns != ("loss",):
        axes.set_ylim(-0.02, 1.02)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return _png(figure)


def _name(column: str) -> str:
    """Return the name of a column of the history; `f1` is Dice everywhere else."""
    return "Dice" if column == "f1" else column


def precision_recall_figure(
    thresholds: np.ndarray, precision: np.ndarray, recall: np.ndarray, *, operating_threshold: float
) -> bytes:
    """Return the precision-recall curve with the operating point marked, as PNG.

    Args:
        thresholds: `(N,)`, rising.
        precision: `(N,)`, NaN where nothing is predicted.
        recall: `(N,)`.
        operating_threshold: Threshold of the bundle.
    """
    figure, axes = _figure()
    axes.plot(recall, precision, color=TRAIN_COLOUR)
    chosen = int(np.argmin(np.abs(thresholds - operating_threshold)))
    label = f"threshold {score(operating_threshold)}"
    if not np.isnan(precision[chosen]):
        label += f": precision {score(precision[chosen])}, recall {score(recall[chosen])}"
    axes.plot(recall[chosen], precision[chosen], "o", color=VAL_COLOUR, label=label)
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall, pooled over pixels")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(frameon=False)
    return _png(figure)


def reliability_figure(diagram: Reliability) -> bytes:
    """Return the reliability diagram as PNG: the share of lesion against the predicted probability."""
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="perfect")
    axes.plot(diagram.probability, diagram.lesion_fraction, color=TRAIN_COLOUR, marker="o", markersize=4, label="model")
    axes.set(xlabel="predicted probability", ylabel="share of lesion", title="Calibration, pooled over pixels")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(frameon=False)
    return _png(figure)


def volumes_figure(predicted: np.ndarray, reference: np.ndarray, *, unit: str) -> bytes:
    """Return the Bland-Altman plot of volumes as PNG: differences in per cent of the mean of both, against that mean.

    Bias and limits of agreement (1.96 standard deviations) are drawn from `MIN_PATIENTS` patients on; of fewer the plot
    says so.

    Args:
        predicted: Volume of each patient, `(N,)`; patients without lesion in either are left out.
        reference: Likewise.
        unit: Unit of the volumes.

    Source: Bland and Altman, Lancet 327(8476), 1986.
    """
    mean = (predicted + reference) / 2
    shown = mean > 0
    mean, difference = mean[shown], 100 * (predicted - reference)[shown] / mean[shown]
    figure, axes = _figure()
    axes.axhline(0, color="grey", linewidth=1)
    if len(mean):
        _scale_volumes(axes, float(mean.min()), float(mean.max()))
        axes.plot(mean, difference, "o", color=TRAIN_COLOUR, markersize=4)
    if len(mean) >= MIN_PATIENTS:
        _draw_limits(axes, difference)
    else:
        axes.text(0.5, 0.98, NO_LIMITS, transform=axes.transAxes, ha="center", va="top", fontsize="small")
    axes.set(
        xlabel=f"mean of predicted and reference volume, {unit}",
        ylabel="predicted - reference, % of the mean",
        title="Volumes by patient (Bland-Altman)",
    )
    return _png(figure)


def _scale_volumes(axes: Any, least: float, most: float) -> None:  # Any: as below
    """Scale the axis of volumes logarithmically, with some labels however narrow their range."""
    axes.set_xscale("log")
    span = most / least
    steps = (1, 2, 3, 4, 6) if span < 10 else (1, 3) if span < 1000 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}" if least >= 1 else "{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if span < 1.01:  # a single patient: else the axis has no extent, and no label
        axes.set_xlim(least / 3, most * 3)


def _draw_limits(axes: Any, difference: np.ndarray) -> None:  # Any: as below
    """Draw bias and limits of agreement, with room above for their legend."""
    bias, spread = float(difference.mean()), 1.96 * float(difference.std(ddof=1))
    low, high = bias - spread, bias + spread
    for value, style, label in (
        (bias, "-", f"bias {bias:+.0f} %"),
        (low, "--", f"limits {low:+.0f} to {high:+.0f} %"),
        (high, "--", None),
    ):
        axes.axhline(value, linestyle=style, color=VAL_COLOUR, linewidth=2, label=label)
    axes.set_ylim(top=axes.get_ylim()[1] + 0.3 * np.ptp(axes.get_ylim()))
    axes.legend(frameon=False, loc="upper right", ncols=2)


def _figure() -> tuple[Figure, Any]:  # Any: matplotlib's Axes, untyped here
    figure = Figure(figsize=(5, 3.4), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
