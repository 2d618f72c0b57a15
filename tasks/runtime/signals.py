"""Signals that end a command: each is raised as an exception in the main thread, but not inside of logging.

Inside a flow, Prefect handles SIGTERM itself, and Ray once it runs; Ctrl-C is left to the command by both.
"""

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

TO_END: Final = (signal.SIGTERM, signal.SIGHUP)
"""Signals of which a command ends as of Ctrl-C, which is SIGINT."""
RETRY_S: Final = 0.05
"""Seconds until a signal that came while the main thread logged is raised again."""


def exit_on_signals() -> None:
    """Raise `KeyboardInterrupt` on Ctrl-C, and `SystemExit` on a signal to end, where nothing else handles them.

    The command can then stop its server and say how it ended. A signal that is ignored, as Ctrl-C of what a shell runs
    in the background, stays so.
    """
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, outside_logging(_interrupt))
    for number in TO_END:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, outside_logging(_exit))


def outside_logging(raise_error: Callable[[int], None]) -> Callable[[int, FrameType | None], None]:
    """Return a handler that raises an error outside of logging, if need be a moment later.

    Between taking logging's lock and the `try` that gives it back (Python 3.11: `logging/__init__.py:1744`), the error
    would keep it taken: whatever other threads log, and all that waits for them, would never end.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename == logging.__file__:
                again = threading.Timer(RETRY_S, signal.pthread_kill, [threading.get_ident(), number])
                again.daemon = True
                again.start()
                return
            frame = frame.f_back
        raise_error(number)

    return handle


def _interrupt(_: int) -> None:
    raise KeyboardInterrupt


def _exit(number: int) -> None:
    raise SystemExit(128 + number)
