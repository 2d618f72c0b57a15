"""Throughput, progress and cost of a segmentation run."""

from collections.abc import Callable
from dataclasses import dataclass

SECONDS_PER_HOUR = 3600.0


@dataclass(slots=True)
class StageSums:
    """Sums over the stages of a run; seconds are worker seconds, so n workers add n per second.

    Attributes:
        load_seconds: Reading, decoding and resizing.
        predict_seconds: Predicting.
        finish_seconds: Restoring geometry, encoding and writing.
        bytes_read: Bytes of scans.
        bytes_written: Bytes of masks and previews.
        n_slices: Slices predicted.
    """

    load_seconds: float = 0.0
    predict_seconds: float = 0.0
    finish_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    n_slices: int = 0
    _first_at_s: float | None = None
    _last_at_s: float = 0.0
    _n_first: int = 0

    def add_loaded(self, seconds: float, n_bytes: int) -> None:
        """Add a loaded chunk."""
        self.load_seconds += seconds
        self.bytes_read += n_bytes

    def add_predicted(self, seconds: float, n_slices: int, now_s: float) -> None:
        """Add a predicted chunk; `now_s` is of a monotonic clock."""
        self.predict_seconds += seconds
        self.n_slices += n_slices
        if self._first_at_s is None:
            self._first_at_s, self._n_first = now_s, n_slices
        self._last_at_s = now_s

    def add_finished(self, seconds: float, n_bytes: int) -> None:
        """Add a finished chunk."""
        self.finish_seconds += seconds
        self.bytes_written += n_bytes

    @property
    def slices_per_second(self) -> float | None:
        """Slices per second from the first predicted chunk to the last, without start-up; None for fewer than two."""
        if self._first_at_s is None or self._last_at_s <= self._first_at_s:
            return None
        return (self.n_slices - self._n_first) / (self._last_at_s - self._first_at_s)


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a segmentation run.

    Attributes:
        n_scans: Scans found.
        n_done: Scans segmented by this run.
        n_skipped: Scans finished before.
        n_failed: Scans rejected.
        n_slices: Slices predicted by this run.
        seconds: Seconds since the first scan was started.
        n_deferred: Scans left for the next run, because they may still be uploading.
    """

    n_scans: int
    n_done: int
    n_skipped: int
    n_failed: int
    n_slices: int
    seconds: float
    n_deferred: int = 0

    @property
    def n_over(self) -> int:
        """Number of scans that need no more work in this run."""
        return self.n_done + self.n_skipped + self.n_deferred + self.n_failed

    @property
    def fraction(self) -> float:
        """Fraction of the scans that need no more work in this run."""
        return self.n_over / self.n_scans if self.n_scans else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds left, at the rate so far; None before the first scan."""
        if not self.n_done:
            return None
        return (self.n_scans - self.n_over) * self.seconds / self.n_done

    def sentence(self) -> str:
        """Return the progress in one line."""
        idle = "finished" if self.fraction >= 1 else "starting"
        rate = f"{self.n_slices / self.seconds:.1f} slices/s" if self.seconds and self.n_slices else idle
        left = self.seconds_left
        ahead = "" if left is None else f", {duration(left)} left"
        return (
            f"{self.n_over} of {self.n_scans} scans: {self.n_done} done, {self.n_skipped} skipped, "
            f"{self.n_deferred} deferred, {self.n_failed} failed, {rate}{ahead}"
        )


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Progress of a preparation, training or evaluation, counted in slices or in what `unit` says.

    Attributes:
        n_all: Slices of the step; of a training, over all epochs.
        n_done: Slices done, earlier runs included.
        n_before: Slices that earlier runs did.
        seconds: Seconds since the step began to work on slices.
        place: Where the step is, besides the number of slices.
        unit: What is counted, in the plural.
    """

    n_all: int
    n_done: int
    seconds: float
    n_before: int = 0
    place: str = ""
    unit: str = "slices"

    @property
    def fraction(self) -> float:
        """Fraction of the slices that are done."""
        return min(1.0, self.n_done / self.n_all) if self.n_all else 1.0

    @property
    def slices_per_second(self) -> float | None:
        """Slices per second of this run; None before the first."""
        n_here = self.n_done - self.n_before
        return n_here / self.seconds if n_here > 0 and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds left, at the rate so far; None before the first slice."""
        rate = self.slices_per_second
        return None if rate is None else max(0, self.n_all - self.n_done) / rate

    def sentence(self) -> str:
        """Return the progress in one line."""
        place = f"{self.place}, " if self.place else ""
        rate, left = self.slices_per_second, self.seconds_left
        if rate is None or left is None:
            return f"{place}{self.n_done:,} of {self.n_all:,} {self.unit}, starting"
        ahead = "finished" if self.fraction >= 1 else f"{duration(left)} left"
        return f"{place}{self.n_done:,} of {self.n_all:,} {self.unit}, {rate:.1f} {self.unit}/s, {ahead}"


AnyProgress = Progress | StepProgress
ReportProgress = Callable[[AnyProgress], None]
"""Callback that is called with the progress of a step."""


def cost_per_1000(seconds: float, *, n_scans: int, n_nodes: int, price_per_node_hour: float | None) -> float | None:
    """Return the cost per 1,000 scans at the rate of this run, in the currency of the price; None if unknown."""
    if price_per_node_hour is None or not n_scans:
        return None
    return seconds / SECONDS_PER_HOUR * n_nodes * price_per_node_hour / n_scans * 1000


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / SECONDS_PER_HOUR:.1f} h"
