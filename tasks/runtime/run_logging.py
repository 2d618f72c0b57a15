"""Relay of log lines from the engine to the terminal and the Prefect UI."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from tasks.core.errors import LesionWorkflowError
from tasks.runtime.tracebacks import redacted_traceback

INNER = "tasks"
"""Name of the root of all loggers that are relayed."""
_RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
_STORE_LOGGERS = ("gcsfs",)
"""Loggers of clients that print the traceback of an error and raise it, too."""
_OF_STATES = ("Beginning flow run", "Created task run", "Finished in state")
_NO_END = ("Finished in state Running", "Finished in state Pending")
_RETRY = "Task run failed with %s: %r - Retry %s/%s will start %s"
_CRASH = "Crash detected! "
_ABORTED = "Execution was aborted by"
"""Beginnings of Prefect's own lines about a run (prefect 3.8.8: `prefect/flow_engine.py`, `prefect/task_engine.py`)."""


def _is_so(record: logging.LogRecord) -> bool:
    """Return whether a line says something that is so.

    No traceback of an error of this project, whose sentence stands in the run's state, and no end in a state that is
    none.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, LesionWorkflowError) and not str(record.msg).startswith(_NO_END)


def _without_crash(record: logging.LogRecord) -> bool:
    """Take the word crash from a line about a run that somebody cancelled."""
    if str(record.msg).startswith(f"{_CRASH}{_ABORTED}"):
        record.msg = str(record.msg).removeprefix(_CRASH)
    return True


def _as_sentence(record: logging.LogRecord) -> bool:
    """Turn the line about a retry after an error of this project into a sentence, and into a warning."""
    if record.msg == _RETRY and isinstance(record.args, tuple) and isinstance(record.args[1], LesionWorkflowError):
        _, error, n_retry, n_retries, when = record.args
        record.msg, record.args = "%s Attempt %s of %s starts %s.", (error, n_retry + 1, n_retries + 1, when)  # type: ignore[operator]
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


_FILTERS = (_is_so, _without_crash, _as_sentence)
for _name in _RUN_LOGGERS:
    for _filter in _FILTERS:
        logging.getLogger(_name).addFilter(_filter)


def show_all() -> None:
    """Show Prefect's lines as they are, with every traceback; messages of libraries, which may quote names, are not."""
    for name in _RUN_LOGGERS:
        for each in _FILTERS:
            logging.getLogger(name).removeFilter(each)
        logging.getLogger(name).addFilter(_redacted)
    _quieten_stores()


def quieten_states() -> None:
    """Leave out what a command line says itself as the outcome: states and ends of runs, tracebacks of the stores."""
    for name in _RUN_LOGGERS:
        logging.getLogger(name).addFilter(_is_no_state)
    _quieten_stores()


def _quieten_stores() -> None:
    for name in _STORE_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _is_no_state(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith((*_OF_STATES, _ABORTED))


def _redacted(record: logging.LogRecord) -> bool:
    """Put a redacted traceback in place of a whole one, and the class of a library's error in place of its message."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        record.exc_info, record.exc_text = None, redacted_traceback(error)
        if not isinstance(error, LesionWorkflowError):
            record.msg, record.args = f"A run ended in {type(error).__name__}", ()
    return True


class _Relay(logging.Handler):
    """Log handler that passes records to the logger of the running task, because engine and io do not use Prefect."""

    def __init__(self, target: logging.Logger | logging.LoggerAdapter[Any]) -> None:  # Any: prefect's logger
        super().__init__(logging.INFO)
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record's text at its level."""
        self._target.log(record.levelno, record.getMessage())


def flow_run_id() -> str:
    """Return the id of the current flow run; outside of one, a new unique id."""
    return str(flow_run.id or uuid.uuid4())


@contextmanager
def logging_to_prefect() -> Iterator[None]:
    """Relay log lines of INFO and above to Prefect while the body runs; called inside a task."""
    inner = logging.getLogger(INNER)
    relay, level = _Relay(get_run_logger()), inner.level
    inner.addHandler(relay)
    inner.setLevel(logging.INFO)
    inner.propagate = False  # else the terminal would show each line twice
    try:
        yield
    finally:
        inner.removeHandler(relay)
        inner.setLevel(level)
        inner.propagate = True
