"""What of Prefect's own lines about runs reaches a terminal."""

import logging

import pytest

from tasks.core.errors import IncompleteError
from tasks.runtime import run_logging


@pytest.mark.parametrize("name", run_logging._RUN_LOGGERS)
def test_lines_say_what_is_so(name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled run did not crash, a run that goes on has not finished, and our errors need no traceback."""
    logger = logging.getLogger(name)
    monkeypatch.setattr(logger, "propagate", True)
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, logger=name)
    try:
        logger.error("Crash detected! Execution was aborted by a termination signal.")
        logger.error("Crash detected! The worker is gone.")
        logger.info("Finished in state Running()")
        logger.info("%d scans", 3)
        for error in (IncompleteError("2 scans failed"), ValueError("a bug")):
            try:
                raise error
            except (IncompleteError, ValueError):
                logger.exception("Engine execution exited with unexpected exception")
    finally:
        logger.removeHandler(caplog.handler)
    told = list(dict.fromkeys(record.getMessage() for record in caplog.records))
    assert told == [
        "Execution was aborted by a termination signal.",
        "Crash detected! The worker is gone.",
        "3 scans",
        "Engine execution exited with unexpected exception",
    ]
    assert {record.exc_info[0] for record in caplog.records if record.exc_info} == {ValueError}
