"""Progress of a step: one live line on a terminal, log lines at intervals elsewhere."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from tasks.core.catalog import StepName
from tasks.core.throughput import AnyProgress, ReportProgress
from tasks.engine.jobs.dispatch import REPORT_EVERY_S, at_intervals

logger = logging.getLogger(__name__)

BAR_WIDTH: Final = 20
TRAINING_EVERY_S: Final = 60.0
"""Seconds between log lines within an epoch, of which a night of training has hundreds."""

_SHOWN: ContextVar[Bar | None] = ContextVar("shown", default=None)
"""The line of this command, if it runs on a terminal."""


@contextlib.contextmanager
def live_line() -> Iterator[None]:
    """Show the progress of the steps of the body below its log lines, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    console = Console(stderr=True)
    columns = SpinnerColumn(), BarColumn(BAR_WIDTH), TextColumn("{task.description}", markup=False)
    bar = Bar(*columns, console=console, transient=True, refresh_per_second=4)
    token = _SHOWN.set(bar)
    try:
        with _logged_above(console), bar:
            yield
    finally:
        _SHOWN.reset(token)


@contextlib.contextmanager
def _logged_above(console: Console) -> Iterator[None]:
    """Let Prefect's log handlers print through the console of the line, which keeps the line below what they print."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in logging.Logger.manager.loggerDict)]
    handlers = {h for each in loggers for h in each.handlers if isinstance(h, PrefectConsoleHandler)}
    before = {handler: handler.console for handler in handlers}
    for handler in handlers:
        handler.console = _Above(console, handler.console)
    try:
        yield
    finally:
        for handler, own in before.items():
            handler.console = own


class _Above(Console):
    """Console of a log handler, with its colours, that prints above a live line."""

    def __init__(self, line: Console, styled: Console) -> None:
        super().__init__(stderr=True)
        self._line, self._styled = line, styled

    def print(self, *objects: Any, **options: Any) -> None:  # Any: Console's own types
        """Print in the colours of the log."""
        with self._styled.capture() as captured:
            self._styled.print(*objects, **options)
        self._line.print(Text.from_ansi(captured.get().rstrip("\n")), soft_wrap=True)


def progress_reporter(step: StepName) -> ReportProgress:
    """Return a callback that shows the progress of a step; called inside the step's task."""
    bar = _SHOWN.get()
    if bar is None:
        return at_intervals(
            lambda progress: logger.info("%s: %s", step, progress.sentence()),
            every_s=TRAINING_EVERY_S if step == "train" else REPORT_EVERY_S,
            is_first_due=step == "segment",  # the others say at once that they have begun
        )
    for over in bar.task_ids:  # of the step before, or of an attempt that failed
        bar.remove_task(over)
    shown = bar.add_task(f"{step}: starting", total=1.0)

    def show(progress: AnyProgress) -> None:
        bar.update(shown, completed=progress.fraction, description=f"{step}: {progress.sentence()}")

    return show
