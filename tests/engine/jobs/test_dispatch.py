"""Progress is passed on now and then, and never twice the same."""

from types import SimpleNamespace

import pytest

from tasks.core.throughput import Progress
from tasks.engine.jobs import dispatch


def _progress(n_done: int) -> Progress:
    return Progress(n_scans=10, n_done=n_done, n_skipped=0, n_failed=0, n_slices=n_done, seconds=1.0)


def test_progress_is_reported_at_once_then_at_intervals_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, one after ten seconds, and the last even if it comes early; unchanged progress is not repeated."""
    clock, reported = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(dispatch, "time", SimpleNamespace(monotonic=lambda: clock.now))
    report_progress = dispatch.at_intervals(reported.append)
    for at_s, n_done in ((0.0, 0), (3.0, 1), (11.0, 2), (12.0, 3), (22.0, 2), (23.0, 10), (24.0, 10), (40.0, 10)):
        clock.now = at_s
        report_progress(_progress(n_done))
    assert [progress.n_done for progress in reported] == [0, 2, 10]
