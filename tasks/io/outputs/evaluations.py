"""Evaluation on storage: pictures, report, and metrics, written last."""

from collections.abc import Mapping
from typing import Final

from tasks.core.schemas import EvaluationReport
from tasks.io import storage

FIGURES_FOLDER: Final = "figures"
REPORT_FILE: Final = "report.html"
METRICS_FILE: Final = "metrics.json"


def read_metrics(report_uri: str) -> EvaluationReport:
    """Return the metrics of a finished evaluation."""
    return EvaluationReport.model_validate_json(storage.read_bytes(storage.join(report_uri, METRICS_FILE)))


def publish(report_uri: str, report: EvaluationReport, *, page: str, pictures: Mapping[str, bytes]) -> None:
    """Publish pictures, PNG by name, and the page, then the metrics."""
    for name, png in pictures.items():
        storage.publish(storage.join(report_uri, FIGURES_FOLDER, f"{name}.png"), png)
    storage.publish(storage.join(report_uri, REPORT_FILE), page.encode())
    storage.publish(storage.join(report_uri, METRICS_FILE), report.model_dump_json(indent=2).encode())
