"""Watchdog: ends a stalled worker, because a hung collective never returns and blocks all other workers."""

import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Self

logger = logging.getLogger(__name__)

STALLED_EXIT: Final = 75
"""Exit code of a stalled worker: EX_TEMPFAIL of sysexits.h, a failure that a retry may solve."""

CHECKS_PER_LIMIT: Final = 20
PATIENCE: Final = 4
"""Factor by which a validation may take longer than a step, while other workers wait."""
PATIENCE_WITH_FLIPS: Final = 4 * PATIENCE


def end(silent_s: float) -> None:
    """Log the stack of every thread and exit without clean-up, which would hang, too."""
    try:
        logger.critical("watchdog: no step finished for %.0f s, this worker exits", silent_s)
        faulthandler.dump_traceback(sys.stderr)
    finally:
        os._exit(STALLED_EXIT)


class Watchdog:
    """Context manager that ends the process unless `beat` is called within every `limit_s` seconds."""

    def __init__(
        self, limit_s: float, end: Callable[[float], None] = end, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit_s, self._end, self._clock = limit_s, end, clock
        self._moved_at = clock()
        self._factor = 1
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self) -> None:
        """Record that a step has finished."""
        self._moved_at = self._clock()

    def check(self) -> bool:
        """Call `end` if no step has finished within the limit; return whether it was called."""
        silent_s = self._clock() - self._moved_at
        is_stalled = silent_s > self._factor * self._limit_s
        if is_stalled:
            self._end(silent_s)
        return is_stalled

    @contextlib.contextmanager
    def patient(self, factor: int = PATIENCE) -> Iterator[None]:
        """Raise the limit while the body runs, for example during a validation."""
        before, self._factor = self._factor, factor
        try:
            yield
        finally:
            self.beat()
            self._factor = before

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(self._limit_s / CHECKS_PER_LIMIT):
            if self.check():
                return
