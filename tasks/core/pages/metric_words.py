"""Names and meanings of metrics in plain words, for readers who meet them first in a report."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tasks.core.metrics import METRICS

LABELS: Final = {
    "dice": "Dice",
    "iou": "IoU",
    "volume_error": "volume error",
    "absolute_volume_error": "absolute volume error",
    "volume_error_ml": "volume error, ml",
    "absolute_volume_error_ml": "absolute volume error, ml",
    "lesion_f1": "lesion F1",
    "nsd_3mm": "NSD 3 mm",
    "nsd_5mm": "NSD 5 mm",
    "hd95_mm": "HD95, mm",
    "mean_surface_distance_mm": "mean surface distance, mm",
    "nsd_3px": "NSD 3 px",
    "nsd_5px": "NSD 5 px",
    "hd95_px": "HD95, px",
    "mean_surface_distance_px": "mean surface distance, px",
}
"""Names of columns, where they are not the metric's own."""

MEANINGS: Final = {
    "dice": "Overlap of prediction and reference: twice the shared area over the sum of both. 1 is perfect, 0 is none. "
    "The same as F1.",
    "iou": "Overlap: shared area over the area of both together. Always below Dice; 1 is perfect.",
    "precision": "Share of the predicted lesion that is lesion in the reference. Low = much false lesion.",
    "recall": "Share of the reference lesion that is predicted (sensitivity). Low = much missed lesion.",
    "specificity": "Share of the lesion-free area left free. High for any model, because lesions are small.",
    "accuracy": "Share of all pixels that are right. High even for an empty mask, because lesions are small.",
    "volume_error": "(Predicted - reference volume) / reference volume. 0.1 = 10 % too much, -0.1 = 10 % too little.",
    "absolute_volume_error": "Volume error without its sign: errors of both directions add up.",
    "volume_error_ml": "Predicted minus reference volume, in millilitres.",
    "absolute_volume_error_ml": "Volume error in millilitres without its sign.",
    "lesion_recall": "Share of the reference lesions that are found, whatever their size.",
    "lesion_precision": "Share of the predicted lesions that are right, whatever their size.",
    "lesion_f1": "Balance of lesion recall and lesion precision. 1 is perfect.",
    "false_lesions_per_scan": "Predicted lesions per scan that are none in the reference.",
    "nsd_3mm": "Share of both outlines within 3 mm of each other (normalised surface distance). 1 is perfect.",
    "nsd_5mm": "Share of both outlines within 5 mm of each other (normalised surface distance). 1 is perfect.",
    "hd95_mm": "Distance within which 95 % of the outlines lie (Hausdorff distance), mm. 0 is perfect.",
    "mean_surface_distance_mm": "Mean distance of the outlines, mm. 0 is perfect.",
    "nsd_3px": "Share of both outlines within 3 px of each other (normalised surface distance). 1 is perfect.",
    "nsd_5px": "Share of both outlines within 5 px of each other (normalised surface distance). 1 is perfect.",
    "hd95_px": "Distance within which 95 % of the outlines lie (Hausdorff distance), px. 0 is perfect.",
    "mean_surface_distance_px": "Mean distance of the outlines, px. 0 is perfect.",
    "loss": "Mean binary cross-entropy per pixel: how far the probabilities are from the reference. 0 is perfect.",
    "tp": "True positive pixels: lesion in prediction and reference.",
    "fp": "False positive pixels: lesion in the prediction only.",
    "fn": "False negative pixels: lesion in the reference only.",
    "tn": "True negative pixels: lesion in neither.",
    "lung_dice": "Overlap of predicted and reference lung, over slices with a lung mask.",
    "lung_involvement": "Predicted lesion inside the lungs over predicted lung.",
    "lung_involvement_reference": "Reference lesion inside the lungs over reference lung.",
}


def label(name: str) -> str:
    """Return the name of a metric as the head of a column."""
    return LABELS.get(name, name.replace("_", " "))


def meaning(name: str) -> str:
    """Return what a metric says; of a metric without words of its own, the first line of its docstring."""
    found = MEANINGS.get(name)
    if found is not None:
        return found
    from tasks.core.patient_metrics import PATIENT_METRICS  # here, because labels need no SciPy

    registries: dict[str, Callable[..., Any]] = {**METRICS, **PATIENT_METRICS}  # Any: of two kinds of metric
    metric = registries[name]
    function = metric.func if isinstance(metric, partial) else metric
    return (inspect.getdoc(function) or "").partition("\n")[0]
