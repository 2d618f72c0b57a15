"""Who may write to an output: a lease in storage, kept alive by a heartbeat, taken over when its holder is dead.

Leases are numbered objects, `lease/<n>.json`, and the highest number holds. Taking one is a create-only put of the next
number, which only one of several takers gets. The heartbeat rewrites the holder's own object. A holder is dead when its
heartbeat is 120 s old, or at once when it was a process of this very machine that is gone. Clocks of different machines
must agree to within a minute.
"""

import contextlib
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from tasks.core.addresses import shown_uri
from tasks.core.errors import LockedError, StorageError
from tasks.core.record import Record
from tasks.io import storage
from tasks.io.stored_objects import StoredObject

logger = logging.getLogger(__name__)

FOLDER = "lease"
HEARTBEAT_S = 30.0
N_ATTEMPTS = 10
STALE_AFTER = timedelta(seconds=120)


class Holder(Record):
    """Who holds an output.

    Attributes:
        run_id: Identity of the run.
        host: Name of its machine.
        machine: Host, boot and process namespace: a process id means something only there.
        pid: Process that holds it.
        pid_started: Start of that process, seconds since the epoch: ids are used again.
        taken_at: When the lease was taken.
        heartbeat_at: When its holder last said that it lives.
    """

    run_id: str
    host: str
    machine: str
    pid: int
    pid_started: float
    taken_at: datetime
    heartbeat_at: datetime

    @classmethod
    def this_process(cls, run_id: str) -> "Holder":
        """Return this process as a holder, from now on."""
        pid, now = os.getpid(), datetime.now(UTC)
        started = psutil.Process(pid).create_time()
        return cls(
            run_id=run_id,
            host=platform.node(),
            machine=_machine(),
            pid=pid,
            pid_started=started,
            taken_at=now,
            heartbeat_at=now,
        )

    def is_alive(self) -> bool:
        """Say whether the holder may still be writing."""
        if self.machine == _machine():
            return _is_running(self.pid, self.pid_started)
        return datetime.now(UTC) - self.heartbeat_at < STALE_AFTER


class OutputLock:
    """The right to write to an output; its `check` raises once another run has taken it."""

    def __init__(self, uri: str, holder: Holder) -> None:
        self._uri, self._holder = uri, holder
        self._is_lost = threading.Event()
        self._renewed_at = time.monotonic()

    def check(self) -> None:
        """Do nothing while the lease is held.

        Raises:
            LockedError: If another run has taken it.
        """
        if self._is_lost.is_set():
            raise LockedError(
                f"Another run has taken {shown_uri(self._uri)} over from run {self._holder.run_id}; this one stops, "
                "what it finished stays recorded."
            )
        silent_s = time.monotonic() - self._renewed_at
        if silent_s > STALE_AFTER.total_seconds():
            raise LockedError(
                f"Run {self._holder.run_id} could not renew {shown_uri(self._uri)} for {silent_s:.0f} s; another run "
                "may take it. This one stops, what it finished stays recorded. Start it again."
            )

    def renew(self) -> None:
        """Say that the holder lives, or find that the lease is lost."""
        asked_at = time.monotonic()
        if not self._is_newest():
            self._is_lost.set()
            return
        alive = self._holder.model_copy(update={"heartbeat_at": datetime.now(UTC)})
        storage.publish(self._uri, alive.model_dump_json().encode())
        self._renewed_at = asked_at
        if not self._is_newest():  # taken between the look and the write
            self._is_lost.set()
            storage.remove(self._uri)

    def release(self) -> None:
        """Give the lease back; where that fails it runs out by itself."""
        if self._is_lost.is_set():
            return
        try:
            storage.remove(self._uri)
        except StorageError as err:
            logger.warning("lease: not given back, it runs out in %.0f s: %s", STALE_AFTER.total_seconds(), err)

    def _is_newest(self) -> bool:
        newest = _newest(self._uri.rpartition("/")[0])
        return newest is not None and newest[1].run_id == self._holder.run_id


@contextlib.contextmanager
def held(output_uri: str, run_id: str, *, take_over: bool = False) -> Iterator[OutputLock]:
    """Hold the lease of an output while the body runs.

    Args:
        output_uri: The output.
        run_id: Identity of the run that writes to it.
        take_over: Take it even from a holder that looks alive.

    Raises:
        LockedError: If a live run holds it.
    """
    lease = _acquire(output_uri, run_id, take_over=take_over)
    is_over = threading.Event()
    heart = threading.Thread(target=_beat, args=(lease, is_over), name="lease", daemon=True)
    heart.start()
    try:
        yield lease
    finally:
        is_over.set()
        heart.join()
        lease.release()


def _acquire(output_uri: str, run_id: str, *, take_over: bool) -> OutputLock:
    folder = storage.join(output_uri, FOLDER)
    newest = _newest(folder)
    number = 1
    if newest is not None:
        number, holder = newest[0] + 1, newest[1]
        is_own = holder.run_id == run_id  # of an earlier try, which could not give it back
        if holder.is_alive() and not is_own and not take_over:
            raise _locked(output_uri, holder)
        logger.warning(
            "lease: taken over from run %s, last heard of at %s", holder.run_id, f"{holder.heartbeat_at:%F %T} UTC"
        )
    uri = _lease_uri(folder, number)
    mine = Holder.this_process(run_id)
    is_mine = storage.create(uri, mine.model_dump_json().encode())
    winner = _newest(folder)  # a listing may have missed a higher number that was taken meanwhile
    if winner is None or winner[1].run_id != run_id:
        if is_mine:
            storage.remove(uri)
        raise _locked(output_uri, winner[1] if winner else mine)
    for earlier in storage.list_objects(folder):
        if _number(earlier) < number:
            storage.remove(earlier.uri)
    return OutputLock(uri, mine)


def _beat(lease: OutputLock, is_over: threading.Event) -> None:
    while not is_over.wait(HEARTBEAT_S):
        try:
            lease.renew()
        except (StorageError, ValueError) as err:  # not there, or not whole; the next beat may get through
            logger.warning("lease: no heartbeat, %s", err)


def _newest(folder: str) -> tuple[int, Holder] | None:
    """Return number and holder of the newest lease, if there is one."""
    for _ in range(N_ATTEMPTS):
        found = storage.list_objects(folder) if storage.exists(folder) else []
        if not found:
            return None
        newest = max(found, key=_number)
        try:
            return _number(newest), Holder.model_validate_json(storage.read_bytes(newest.uri))
        except StorageError as err:
            if not isinstance(err.__cause__, FileNotFoundError):
                raise
            # gone between listing and reading: its taker has a higher number by now, so look again
    raise StorageError(f"{shown_uri(folder)} changed {N_ATTEMPTS} times while it was read.")


def _number(found: StoredObject) -> int:
    return int(Path(found.path).stem)


def _lease_uri(folder: str, number: int) -> str:
    return storage.join(folder, f"{number:08d}.json")


def _locked(output_uri: str, holder: Holder) -> LockedError:
    return LockedError(
        f"{shown_uri(output_uri)} is held by run {holder.run_id} (process {holder.pid} on {holder.host}), "
        f"since {holder.taken_at:%F %T} UTC, last heard of at {holder.heartbeat_at:%F %T} UTC. Wait until it ends; "
        "if it is dead it is taken over 120 s after it was last heard of."
    )


def _machine() -> str:
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    boot = boot_id.read_text().strip() if boot_id.exists() else ""
    return f"{platform.node()}:{boot}:{namespace.readlink() if namespace.is_symlink() else ''}"


def _is_running(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        # a killed process that nobody waits for keeps its id, in a container without an init for ever
        return bool(abs(process.create_time() - started) < 1) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
