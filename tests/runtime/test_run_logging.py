"""What of Prefect's own lines about runs reaches a terminal."""

import logging

import pytest

from tasks.core.errors import IncompleteError
from tasks.runtime import run_logging


def _told(logger: logging.Logger, message: str, *values: object, error: Exception | None = None) -> str | None:
    """Return what becomes of a line: None if it is left out."""
    exc_info = (type(error), error, None) if error else None
    record = logging.LogRecord(logger.name, logging.ERROR, "", 1, message, values, exc_info)  # type: ignore[arg-type]
    return record.getMessage() if logger.filter(record) else None


@pytest.mark.parametrize("name", run_logging._RUN_LOGGERS)
def test_lines_say_what_is_so(name: str) -> None:
    """A cancelled run did not crash, a run that goes on has not finished, and our errors need no traceback."""
    logger = logging.getLogger(name)
    aborted = "Execution was aborted by a termination signal."
    assert _told(logger, f"Crash detected! {aborted}") == aborted
    assert _told(logger, "Crash detected! The worker is gone.") == "Crash detected! The worker is gone."
    assert _told(logger, "Finished in state Running()") is None
    assert _told(logger, "%d scans", 3) == "3 scans"
    unexpected = "Engine execution exited with unexpected exception"
    assert _told(logger, unexpected, error=IncompleteError("2 scans failed")) is None
    assert _told(logger, unexpected, error=ValueError("a bug")) == unexpected
