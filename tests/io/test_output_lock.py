"""The lease of an output: one holder at a time, a dead one is taken over by itself, a live one only when asked."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.errors import LockedError
from tasks.io import output_lock, storage
from tasks.io.output_lock import Holder
from tests.io.stores import everything_below

HOLD_FOREVER = (
    "import sys, time\n"
    "from tasks.io import output_lock\n"
    "with output_lock.held(sys.argv[1], 'first'):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(600)\n"
)


def _write(root: str, number: int, **changes: object) -> None:
    holder = Holder.this_process("other").model_copy(update=changes)
    storage.publish(f"{root}/lease/{number:08d}.json", holder.model_dump_json().encode())


def test_a_held_output_refuses_the_second_run_and_names_the_first(root: str) -> None:
    """While one run holds an output another is refused, told which run holds it and what to do."""
    with output_lock.held(root, "first"):
        with (
            pytest.raises(LockedError, match=r"held by run first.*Wait until it ends") as caught,
            output_lock.held(root, "second"),
        ):
            pytest.fail("two runs held one output")
        assert caught.value.exit_code == 4
    with output_lock.held(root, "second"):
        pass


def test_nothing_is_left_of_a_lease_given_back(root: str) -> None:
    """After the body ends, well or badly, no object of the lease remains."""
    with output_lock.held(root, "first"):
        pass
    with pytest.raises(ZeroDivisionError), output_lock.held(root, "second"):
        raise ZeroDivisionError
    assert everything_below(root) == []


@pytest.mark.parametrize("root", ["path", "gs"], indirect=True)
def test_a_killed_holder_of_this_machine_is_taken_over_at_once(root: str) -> None:
    """A process killed with its lease in hand does not stop the next run, not even where nobody waits for the dead."""
    with subprocess.Popen([sys.executable, "-c", HOLD_FOREVER, root], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LockedError), output_lock.held(root, "second"):
            pytest.fail("two processes held one output")
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with output_lock.held(root, "second"):
            assert len(everything_below(root)) == 1


def test_a_holder_of_another_machine_is_dead_when_silent_for_two_minutes(root: str) -> None:
    """Another machine's process cannot be looked at: its heartbeat decides."""
    _write(root, 1, machine="elsewhere", heartbeat_at=datetime.now(UTC) - timedelta(seconds=100))
    with pytest.raises(LockedError), output_lock.held(root, "second"):
        pytest.fail("a live lease was taken")
    _write(root, 1, machine="elsewhere", heartbeat_at=datetime.now(UTC) - timedelta(seconds=121))
    with output_lock.held(root, "second"):
        pass


def test_a_heartbeat_still_to_come_is_put_down_to_clocks(root: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads a time in the future, in the refusal or when the lock is taken over, is told of the clocks."""
    _write(root, 1, machine="elsewhere", heartbeat_at=datetime.now(UTC) + timedelta(minutes=5))
    with pytest.raises(LockedError, match=r"s ahead of the clock here: set both by NTP"):
        output_lock.held(root, "second").__enter__()
    with output_lock.held(root, "second", take_over=True):
        assert "s ahead of the clock here: set both by NTP" in caplog.text


def test_a_run_tried_again_finds_its_own_lease(root: str) -> None:
    """A try that could not give the lease back does not lock the next try of the same run out."""
    _write(root, 1, run_id="first", machine="elsewhere")
    with output_lock.held(root, "first") as held:
        held.check()
        assert everything_below(root) == ["lease/00000002.json"]


def test_a_holder_cut_off_from_the_store_stops_by_itself(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who could not renew for as long as makes a lease stale does not go on writing."""
    with output_lock.held(root, "first") as held:
        held.check()
        monkeypatch.setattr(output_lock, "STALE_AFTER", timedelta(seconds=-1))
        with pytest.raises(LockedError, match="could not renew"):
            held.check()


def test_a_process_id_used_again_is_not_the_holder(root: str) -> None:
    """A process with the holder's id that was started later is another one."""
    _write(root, 1, pid_started=time.time() - 1e6)
    with output_lock.held(root, "second") as held:
        held.check()
        assert everything_below(root) == ["lease/00000002.json"]


def test_take_over_takes_from_the_living_and_stops_them(root: str) -> None:
    """With take_over the second run holds; the first finds out at its next heartbeat, and leaves the lease alone."""
    with output_lock.held(root, "first") as first:
        with output_lock.held(root, "second", take_over=True) as second:
            first.renew()
            with pytest.raises(LockedError, match=r"taken .* over from run first"):
                first.check()
            second.renew()
            second.check()
        first.release()
    assert everything_below(root) == []


def test_a_heartbeat_is_written(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the body runs the holder keeps saying that it lives."""
    monkeypatch.setattr(output_lock, "HEARTBEAT_S", 0.01)

    def heartbeat() -> datetime:
        [found] = storage.list_objects(f"{root}/lease")
        return Holder.model_validate_json(storage.read_bytes(found.uri)).heartbeat_at

    with output_lock.held(root, "first"):
        first = heartbeat()
        deadline = time.monotonic() + 20
        while heartbeat() == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_of_many_takers_one_holds(root: str) -> None:
    """When several find the same dead holder, exactly one gets its place."""
    _write(root, 7, machine="elsewhere", heartbeat_at=datetime.now(UTC) - timedelta(hours=1))
    outcomes = storage.map_in_parallel(lambda number: _try(root, f"run-{number}"), range(8))
    assert sorted(outcomes)[-1] == "held"
    assert outcomes.count("held") == 1


def _try(root: str, run_id: str) -> str:
    try:
        output_lock._acquire(root, run_id, take_over=False)
    except LockedError:
        return "denied"
    return "held"


def test_the_holder_says_where_it_runs(tmp_path: Path) -> None:
    """A holder names its host, process and start, and this process counts as alive."""
    mine = Holder.this_process("run")
    assert mine.pid == os.getpid()
    assert mine.host
    assert mine.is_alive()
