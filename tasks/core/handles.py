"""Handles that steps pass on: URIs, fingerprints and counts, never arrays."""

from typing import Final

from tasks.core.numbers import count
from tasks.core.plural import counted
from tasks.core.record import Record
from tasks.core.rows import CorrectionSource, ScanStatus
from tasks.core.throughput import duration


class SourceHandle(Record):
    """Handle of a labelled source: its slices, patients and splits are tables below `uri`."""

    uri: str
    fingerprint: str
    n_slices: int
    n_failed: int
    corrections: tuple[CorrectionSource, ...] = ()
    warnings: tuple[str, ...] = ()


class DatasetHandle(Record):
    """Handle of a finished dataset."""

    uri: str
    fingerprint: str
    n_slices: int
    n_failed: int
    warnings: tuple[str, ...] = ()


class ModelHandle(Record):
    """Handle of a finished bundle."""

    uri: str
    fingerprint: str


class EvaluationHandle(Record):
    """Handle of a finished evaluation."""

    uri: str
    fingerprint: str
    n_failed: int


class SegmentationHandle(Record):
    """Handle of a finished segmentation: scans by status, new failures, and the bug that all scans failed with."""

    uri: str
    fingerprint: str
    counts: dict[ScanStatus, int]
    n_new_failures: int
    common_bug: str | None = None


class ReviewHandle(Record):
    """Handle of a review: packages that lie ready, corrections taken in, and what was refused anew."""

    uri: str
    n_packages: int
    n_verdicts: int
    n_withdrawn: int = 0
    n_corrections: int
    n_refused: int
    n_new_refusals: int

    def sentence(self) -> str:
        """Return the review in one line."""
        taken = f"{counted(self.n_verdicts, 'verdict')} and {counted(self.n_corrections, 'correction')} taken in"
        taken += f", {counted(self.n_withdrawn, 'verdict')} withdrawn" if self.n_withdrawn else ""
        refused = f"{self.n_refused} refused ({self.n_new_refusals} new)"
        return f"{counted(self.n_packages, 'scan')} to correct, {taken}, {refused}."


class Finding(Record):
    """Result of a check of `lesions doctor`: whether all is as needed, and what was found and what to do."""

    is_well: bool
    sentence: str


class Diagnosis(Record):
    """Results of all checks of `lesions doctor`, by their names, and its exit code."""

    checks: dict[str, Finding]
    exit_code: int


_LEFT_OUT: Final[dict[ScanStatus, str]] = {
    "done": "finished by a run that was stopped",
    "skipped": "up to date",
    "deferred": "perhaps still uploading",
    "failed": "rejected",
    "not_a_scan": "that are no chest CT",
}
"""What is said of scans that a run would not segment, by status."""


class SegmentationPlan(Record):
    """Plan of a segmentation: scans that are due, and the numbers of all others by status.

    Attributes:
        due: Ids of the scans.
        up_to_date: Numbers of the others.
        estimated_seconds: Time the run would take at the rate of the last one; None without an earlier run.
        estimated_cost: Cost of the run, in the currency of the price; None without a price.
    """

    due: list[str]
    up_to_date: dict[ScanStatus, int]
    estimated_seconds: float | None = None
    estimated_cost: float | None = None

    def sentence(self) -> str:
        """Return the plan in one line."""
        others = [f"{count(n)} {_LEFT_OUT[status]}" for status, n in self.up_to_date.items() if n]
        rest = f"; {', '.join(others)}" if others else ""
        named = f" ({', '.join(self.due[:3])}{', …' if len(self.due) > 3 else ''})" if self.due else ""
        seconds = self.estimated_seconds
        time = "" if seconds is None else f", in about {duration(seconds)} at the rate of the last run"
        cost = "" if self.estimated_cost is None else f", for about {self.estimated_cost:.2f}"
        return f"{counted(len(self.due), 'scan')} would be segmented{named}{time}{cost}{rest}."
