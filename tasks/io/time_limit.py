"""Time limit of a process: a decoder that does not return cannot be interrupted, only ended with its process."""

import contextlib
import faulthandler
import time
from collections.abc import Iterator
from typing import Final

_STDERR: Final = 2
"""File descriptor: Ray replaces `sys.stderr`, and the watchdog writes where each thread stands."""

_NOTED_EVERY_S: Final = 1.0


class _Limit:
    """Limit that holds in this process at the moment."""

    seconds: float | None = None
    noted_s: float = 0.0


@contextlib.contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """End this process if it makes no progress for some seconds; None sets no limit.

    The watchdog is a thread of the interpreter's own that needs no lock of Python's, so that it also ends a process in
    the midst of a library's code.
    """
    if seconds is None:
        yield
        return
    _Limit.seconds, _Limit.noted_s = seconds, time.monotonic()
    faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        _Limit.seconds = None


def note_progress() -> None:
    """Let the time begin anew, if there is a limit."""
    now = time.monotonic()
    if _Limit.seconds is not None and now > _Limit.noted_s + _NOTED_EVERY_S:
        _Limit.noted_s = now
        faulthandler.dump_traceback_later(_Limit.seconds, exit=True, file=_STDERR)
