import time

from tasks.engine.training.watchdog import PATIENCE, Watchdog

LIMIT_S = 0.5


def test_silence_calls_for_an_end_in_the_stated_time() -> None:
    """Without a beat the end is called for once, after the limit and soon after it."""
    ends: list[float] = []
    with Watchdog(LIMIT_S, ends.append):
        time.sleep(3 * LIMIT_S)
    [silent_s] = ends
    assert LIMIT_S < silent_s < 4 * LIMIT_S


def test_beats_keep_it_quiet() -> None:
    """As long as steps end within the limit nothing happens, however long it takes in all."""
    ends: list[float] = []
    with Watchdog(LIMIT_S, ends.append) as watchdog:
        for _ in range(12):
            time.sleep(LIMIT_S / 4)
            watchdog.beat()
    assert not ends


def test_a_validation_may_take_longer_but_not_for_ever() -> None:
    """While another worker is waited for the limit is larger, and it is the small one again afterwards."""
    ends: list[float] = []
    with Watchdog(LIMIT_S, ends.append) as watchdog:
        with watchdog.patient():
            time.sleep(2 * LIMIT_S)
        assert not ends
        with watchdog.patient():
            time.sleep((PATIENCE + 1) * LIMIT_S)
    [silent_s] = ends
    assert silent_s > PATIENCE * LIMIT_S
