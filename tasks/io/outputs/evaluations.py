"""Evaluation on storage: pictures, report, and metrics, written last."""

from collections.abc import Mapping
from typing import Final

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError
from tasks.core.schemas import EvaluationReport
from tasks.io import storage
from tasks.io.record_files import read_record

FIGURES_FOLDER: Final = "figures"
REPORT_FILE: Final = "report.html"
METRICS_FILE: Final = "metrics.json"
COMPARED: Final = ("patient_id", "n_slices", "tp", "fp", "fn", "tn")
"""What a comparison needs of each patient, besides a Dice, which may be undefined."""


def read_metrics(report_uri: str) -> EvaluationReport:
    """Return the metrics of a finished evaluation."""
    return EvaluationReport.model_validate_json(storage.read_bytes(storage.join(report_uri, METRICS_FILE)))


def read_earlier(uri: str) -> EvaluationReport:
    """Return the metrics of an earlier evaluation, by its folder or its metrics.json.

    Raises:
        ConfigError: If there is none.
    """
    metrics_uri = uri if uri.endswith(".json") else storage.join(uri, METRICS_FILE)
    if not storage.exists(metrics_uri):
        raise ConfigError(
            f"evaluation.compare_with is {shown_uri(uri)}, which holds no {METRICS_FILE}, so no finished evaluation. "
            "Name the folder of one, or empty it."
        )
    found = read_record(EvaluationReport, metrics_uri, error=ConfigError, advice="Compare with another evaluation.")
    if any(row.get(name) is None for row in found.per_patient for name in COMPARED):
        raise ConfigError(f"{shown_uri(metrics_uri)} lacks counts of a patient. Compare with another evaluation.")
    return found


def publish(report_uri: str, report: EvaluationReport, *, page: str, pictures: Mapping[str, bytes]) -> None:
    """Publish pictures, PNG by name, and the page, then the metrics."""
    for name, png in pictures.items():
        storage.publish(storage.join(report_uri, FIGURES_FOLDER, f"{name}.png"), png)
    storage.publish(storage.join(report_uri, REPORT_FILE), page.encode())
    storage.publish(storage.join(report_uri, METRICS_FILE), report.model_dump_json(indent=2).encode())
