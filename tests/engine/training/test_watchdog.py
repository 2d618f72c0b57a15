"""The watchdog, by a clock that the tests set; only its thread is waited for."""

from threading import Event

import pytest

from tasks.engine.training.watchdog import PATIENCE, Watchdog

LIMIT_S = 60.0


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return the seconds it shows."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


def test_silence_calls_for_an_end_after_the_limit(clock: Clock) -> None:
    """Up to the limit nothing happens; beyond it the end is called for, with how long nothing moved."""
    ends: list[float] = []
    watchdog = Watchdog(LIMIT_S, ends.append, clock=clock)
    clock.now_s += LIMIT_S
    assert not watchdog.check()
    clock.now_s += 1
    assert watchdog.check()
    assert ends == [LIMIT_S + 1]


def test_beats_keep_it_quiet(clock: Clock) -> None:
    """As long as steps end within the limit nothing happens, however long it takes in all."""
    ends: list[float] = []
    watchdog = Watchdog(LIMIT_S, ends.append, clock=clock)
    for _ in range(12):
        clock.now_s += LIMIT_S - 1
        assert not watchdog.check()
        watchdog.beat()
    assert not ends


def test_a_validation_may_take_longer_but_not_for_ever(clock: Clock) -> None:
    """While another worker is waited for the limit is larger, and it is the small one again afterwards."""
    ends: list[float] = []
    watchdog = Watchdog(LIMIT_S, ends.append, clock=clock)
    with watchdog.patient():
        clock.now_s += PATIENCE * LIMIT_S
        assert not watchdog.check()
        clock.now_s += 1
        assert watchdog.check()
    assert not watchdog.check(), "what was patiently waited for counts as silence"
    clock.now_s += LIMIT_S + 1
    assert watchdog.check()
    assert ends == [PATIENCE * LIMIT_S + 1, LIMIT_S + 1]


def test_it_looks_by_itself_and_ends_once(clock: Clock) -> None:
    """A thread of its own notices the silence of one that hangs, and stops looking then."""
    ends: list[float] = []
    is_called = Event()

    def end(silent_s: float) -> None:
        ends.append(silent_s)
        is_called.set()

    with Watchdog(0.02, end, clock=clock) as watchdog:
        clock.now_s += 1
        assert is_called.wait(30)
        watchdog._thread.join(30)
        assert not watchdog._thread.is_alive()
    assert ends == [1]
