"""Figures as PNG: training curves, precision against recall, calibration, and agreement of volumes."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from tasks.core.calibration import Reliability
from tasks.core.history import CURVES, EpochRow

MIN_AGREEING = 3
"""Fewest patients that have limits of agreement."""
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
            axes.plot(epochs, values, line, color=colour, marker="o", markersize=3, label=f"{side} {column}")
    title = " and ".join("F1 (Dice)" if column == "f1" else column for column in columns)
    axes.set(xlabel="epoch", ylabel=title, title=f"{title}, pooled over pixels" if columns != ("loss",) else "loss")
    if columns != ("loss",):
        axes.set_ylim(-0.02, 1.02)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return _png(figure)


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
    label = f"threshold {operating_threshold:.2f}"
    if not np.isnan(precision[chosen]):
        label += f": precision {precision[chosen]:.2f}, recall {recall[chosen]:.2f}"
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


def volume_agreement_figure(predicted: np.ndarray, reference: np.ndarray) -> bytes:
    """Return the Bland-Altman plot of volumes as PNG: differences in per cent of the mean of both, against that mean.

    Bias and limits of agreement (1.96 standard deviations) are drawn from three patients on.

    Args:
        predicted: Voxels of each patient, `(N,)`; patients without voxel in either are left out.
        reference: Likewise.

    Source: Bland and Altman, Lancet 327(8476), 1986.
    """
    mean = (predicted + reference) / 2
    shown = mean > 0
    mean, difference = mean[shown], 100 * (predicted - reference)[shown] / mean[shown]
    figure, axes = _figure()
    axes.axhline(0, color="grey", linewidth=1)
    if len(mean):
        axes.set_xscale("log")
        span = mean.max() / mean.min()
        steps = (1, 2, 3, 4, 6) if span < 10 else (1, 3) if span < 1000 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=steps))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.plot(mean, difference, "o", color=TRAIN_COLOUR, markersize=4)
    if len(mean) >= MIN_AGREEING:
        bias, spread = float(difference.mean()), 1.96 * float(difference.std(ddof=1))
        for value, style, label in (
            (bias, "-", f"bias {bias:+.0f} %"),
            (bias - spread, "--", f"limits {bias - spread:+.0f} to {bias + spread:+.0f} %"),
            (bias + spread, "--", None),
        ):
            axes.axhline(value, linestyle=style, color=VAL_COLOUR, linewidth=2, label=label)
        axes.set_ylim(top=axes.get_ylim()[1] + 0.3 * np.ptp(axes.get_ylim()))  # room for the legend
        axes.legend(frameon=False, loc="upper right", ncols=2)
    axes.set(xlabel="mean of predicted and reference volume, voxels", ylabel="predicted - reference, % of the mean")
    axes.set(title="Agreement of volumes, by patient")
    return _png(figure)


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
