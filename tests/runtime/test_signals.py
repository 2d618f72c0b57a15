"""Signals that end a command, raised for real in this process."""

import logging
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tasks.runtime.command_ends import end_of
from tasks.runtime.signals import TO_END, exit_on_signals

ENDED = (KeyboardInterrupt, SystemExit)
SIGNALS = (signal.SIGINT, *TO_END)


@pytest.fixture
def _handled() -> Iterator[None]:
    """Signals handled as in a command, whatever handles them here."""
    before = [signal.signal(number, signal.SIG_DFL) for number in TO_END]
    before.insert(0, signal.signal(signal.SIGINT, signal.default_int_handler))
    exit_on_signals()
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


class _Signalling(logging.Handler):
    """Raises a signal while it writes."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.number, self.n_written = number, 0

    def emit(self, _: logging.LogRecord) -> None:
        signal.raise_signal(self.number)
        self.n_written += 1


@pytest.mark.usefixtures("_handled")
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_inside_logging_ends_the_command_a_moment_later(number: signal.Signals) -> None:
    """The line is written and every lock of logging given back: another thread logs on."""
    logger, handler = logging.getLogger("tests.signals"), _Signalling(number)
    logger.addHandler(handler)
    try:
        logger.warning("a line")
        assert handler.n_written == 1
        with pytest.raises(ENDED) as end:
            time.sleep(30)  # which the signal cuts short
    finally:
        logger.removeHandler(handler)
    assert end.value.args in ((), (128 + number,))
    other = threading.Thread(target=logging.getLogger("tests.signals.other").isEnabledFor, args=(5,), daemon=True)
    other.start()
    other.join(10)
    assert not other.is_alive()


@pytest.mark.usefixtures("_handled")
def test_a_signal_elsewhere_ends_the_command_at_once() -> None:
    """Nothing is waited for."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("_handled")
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_an_ignored_signal_stays_ignored(number: signal.Signals) -> None:
    """What a shell runs in the background, or under nohup, does not end by it."""
    signal.signal(number, signal.SIG_IGN)
    exit_on_signals()
    signal.raise_signal(number)
    assert signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize(("code", "ended"), [(15, 143), (143, 143), (129, 129), (1, None), (None, None)])
def test_only_a_signals_exit_is_said_to_be_one(code: int | None, ended: int | None) -> None:
    """Ray exits with SIGTERM's bare number; 1 is SIGHUP's, but also what any failure exits with."""
    end = end_of(SystemExit(code))
    assert (end and end.exit_code) == ended
