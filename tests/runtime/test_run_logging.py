"""What of Prefect's own lines about runs reaches a terminal."""

import logging

import pytest

from tasks.core.errors import ConfigError, IncompleteError
from tasks.runtime import run_logging
from tasks.runtime.tracebacks import redacted_traceback


def _told(logger: logging.Logger, message: str, *values: object, error: Exception | None = None) -> str | None:
    """Return what becomes of a line: None if it is left out."""
    exc_info = (type(error), error, None) if error else None
    record = logging.LogRecord(logger.name, logging.ERROR, "", 1, message, values, exc_info)  # type: ignore[arg-type]
    return record.getMessage() if logger.filter(record) else None


@pytest.mark.parametrize("name", run_logging._RUN_LOGGERS)
def test_lines_say_what_is_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled run did not crash, a run that goes on has not finished, and our errors need no traceback."""
    logger = logging.getLogger(name)
    of_commands = (run_logging._is_no_state, run_logging._redacted)  # perhaps added by a command in this process
    monkeypatch.setattr(logger, "filters", [one for one in logger.filters if one not in of_commands])
    aborted = "Execution was aborted by a termination signal."
    assert _told(logger, f"Crash detected! {aborted}") == aborted
    assert _told(logger, "Crash detected! The worker is gone.") == "Crash detected! The worker is gone."
    assert _told(logger, "Finished in state Running()") is None
    assert _told(logger, "%d scans", 3) == "3 scans"
    unexpected = "Engine execution exited with unexpected exception"
    assert _told(logger, unexpected, error=IncompleteError("2 scans failed")) is None
    assert _told(logger, unexpected, error=ValueError("a bug")) == unexpected


def _apart(monkeypatch: pytest.MonkeyPatch, name: str) -> logging.Logger:
    """Return a logger; what a test does to the filters of any is undone at its end."""
    for each in map(logging.getLogger, run_logging._RUN_LOGGERS):
        monkeypatch.setattr(each, "filters", [*each.filters])
    return logging.getLogger(name)


@pytest.mark.parametrize("name", run_logging._RUN_LOGGERS)
def test_a_command_says_its_end_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the states of runs are left out, and that a stopped run crashed; what happened is not."""
    logger = _apart(monkeypatch, name)
    run_logging.quieten_states()
    assert _told(logger, "Crash detected! Execution was aborted by an interrupt signal.") is None
    assert _told(logger, "Finished in state Completed()") is None
    assert _told(logger, "%d scans", 3) == "3 scans"


@pytest.mark.parametrize("name", run_logging._RUN_LOGGERS)
def test_debug_shows_tracebacks_without_what_was_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log line about an error of a library has its class and no message, which may be a header's value."""
    logger = _apart(monkeypatch, name)
    run_logging.show_all()
    error = ValueError("DOE^JOHN")
    record = logging.LogRecord(name, logging.ERROR, "", 1, "Ended in %r", (error,), (ValueError, error, None))
    assert logger.filter(record)
    told = logging.Formatter("%(message)s").format(record)
    assert "ValueError" in told
    assert "DOE" not in told


def _chained(value: str) -> Exception:
    try:
        try:
            raise ValueError(f"PatientName is {value}")
        except ValueError as err:
            raise ConfigError("The table is damaged.") from err
    except ConfigError as err:
        return err


def test_a_traceback_quotes_nothing_that_a_library_read() -> None:
    """Every error of the chain has its class and its lines of code, and only those of this project their sentence."""
    told = redacted_traceback(_chained("DOE^JOHN"))
    assert "DOE" not in told
    assert told.count("Traceback") == 2
    assert told.splitlines()[-1] == "ConfigError: The table is damaged."
    assert "raise ValueError(" in told
