"""Progress on a terminal, which is a real one here, and where there is none."""

import contextlib
import logging
import os
import pty

import pytest
from prefect.logging.handlers import PrefectConsoleHandler

from tasks.core.throughput import StepProgress
from tasks.runtime.live_line import live_line, progress_reporter

HALF = StepProgress(100, n_done=50, seconds=10.0, place="epoch 1 of 2")
SENTENCE = "train: epoch 1 of 2, 50 of 100 slices, 5.0 slices/s, 10 s left"


def _all_of(terminal: int) -> str:
    """Return what was written to a terminal whose other end is closed; one read gives 4 kB at most."""
    parts = []
    with contextlib.suppress(OSError):  # EIO: nothing is left
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    return b"".join(parts).decode()


def test_a_terminal_shows_the_progress_below_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line has place, rate and time left, the log is printed above it, and no log line repeats it."""
    terminal, written = pty.openpty()
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    logger = logging.getLogger("tests.live_line")
    with os.fdopen(written, "w") as standard_error, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", standard_error)  # here, because pytest sets its own between fixtures and tests
        handler = PrefectConsoleHandler()
        own = handler.console
        logger.addHandler(handler)
        try:
            with live_line():
                progress_reporter("train")(HALF)
                logger.warning("a worker was lost")
        finally:
            logger.removeHandler(handler)
    shown = _all_of(terminal)
    os.close(terminal)
    assert SENTENCE in shown
    assert "a worker was lost\r\n" in shown
    assert handler.console is own


def test_elsewhere_progress_is_a_log_line_at_intervals(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal nothing is drawn; a segmentation logs at once, a training after its interval or at its end."""
    with caplog.at_level(logging.INFO), live_line():
        progress_reporter("train")(HALF)
        assert not caplog.messages
        progress_reporter("segment")(HALF)
    assert caplog.messages == [SENTENCE.replace("train", "segment")]
    assert not capfd.readouterr().out
