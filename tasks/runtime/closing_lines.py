"""Last lines of a command: what came of it and where it lies, for people; the same as JSON, for machines."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from tasks.core.addresses import shown_uri
from tasks.core.handles import (
    DatasetHandle,
    EvaluationHandle,
    ModelHandle,
    ReviewHandle,
    SegmentationHandle,
    SegmentationPlan,
)
from tasks.core.numbers import TOO_FEW, count, interval, score, shown_interval
from tasks.core.plural import counted

_LOCAL: Final = "file://"


def as_json(result: Any) -> str:  # Any: what any command returns
    """Return what a command returned as one JSON object."""
    if isinstance(result, BaseModel):
        return result.model_dump_json()
    return json.dumps(result if isinstance(result, dict) else {})


def closing_lines(module: str, result: Any, arguments: Mapping[str, Any]) -> list[str]:  # Any: of any command
    """Return what the user of a finished command wants to know.

    Args:
        module: Module of the command.
        result: What the command returned.
        arguments: Parameters of the command.
    """
    if module == "flows.demo":  # prints its own
        return []
    if module == "flows.names":
        return [f"{scan_id}\t{source_uri}" for scan_id, source_uri in result.items()]
    lines = _lines(result)
    if module == "flows.run_pipeline" and isinstance(result, EvaluationHandle):
        out = _path(result.uri).removesuffix("/evaluation")
        lines.append(f"Model: {out}/model")
        if arguments.get("scans"):
            lines += [f"Masks: {out}/segmentation/masks", f"Report of the scans: {out}/segmentation/report.html"]
    return lines


def _lines(result: Any) -> list[str]:  # Any: what any command returns
    if isinstance(result, SegmentationPlan):
        return [result.sentence()]
    if isinstance(result, DatasetHandle):
        rejected = f", {count(result.n_failed)} rejected" if result.n_failed else ""
        return [f"Dataset: {_path(result.uri)} ({counted(result.n_slices, 'slice')}{rejected})"]
    if isinstance(result, ModelHandle):
        return [*_dice_of_model(result.uri), f"Model: {_path(result.uri)}"]
    if isinstance(result, EvaluationHandle):
        return [*_dice(result.uri), f"Report: {_path(result.uri)}/report.html"]
    if isinstance(result, SegmentationHandle):
        counts = ", ".join(f"{count(n)} {status.replace('_', ' ')}" for status, n in result.counts.items() if n)
        uri = _path(result.uri)
        masks = [f"Masks: {uri}/masks"] if result.counts.get("done") or result.counts.get("skipped") else []
        return [f"Scans: {counts or 'none'}", *masks, f"Report: {uri}/report.html"]
    if isinstance(result, ReviewHandle):
        folder = f"{_path(result.uri)}/review"
        return [f"Review: {result.sentence()}", f"Packages: {folder}/packages", f"Viewer: {folder}/viewer.html"]
    return []


def _dice(report_uri: str) -> list[str]:
    from tasks.io.outputs import evaluations  # here and below, because mistakes need no storage

    report = evaluations.read_metrics(report_uri)
    mean, pooled = report.per_patient_mean["dice"], report.pooled["dice"]
    of_mean = report.per_patient_mean
    low_high = shown_interval(of_mean.get("dice_ci95"), of_mean["n_defined"])
    range_of_mean = f"95 % interval {interval(low_high)}" if low_high else TOO_FEW
    return [
        (
            f"Dice of {report.split}: mean {score(mean, 'undefined')} over {counted(report.n_patients, 'patient')} "
            f"({range_of_mean}), {score(pooled, 'undefined')} pooled over {counted(report.n_slices, 'slice')}"
        )
    ]


def _dice_of_model(model_uri: str) -> list[str]:
    from tasks.io.outputs import bundles

    card = bundles.read_card(model_uri)
    found = card.validation.get("val_dice_per_patient")
    return [] if found is None else [f"Validation Dice, mean over patients: {score(found)}"]


def _path(uri: str) -> str:
    """Return an address as it is shown: of this machine as a path."""
    return shown_uri(uri).removeprefix(_LOCAL)
