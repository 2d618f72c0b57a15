"""Output lock: only one run writes to an output; it has a heartbeat and is taken over from a dead holder.

A lock is a numbered object, `lease/<n>.json`; the highest number holds. A run takes it by a create-only put of the next
number, which succeeds for one run only. The heartbeat rewrites the holder's object. A holder is dead when its heartbeat
is 120 s old, or at once if it was a process of this machine that has ended. Clocks of different machines must agree to
within a minute.
"""

import contextlib
import logging
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from pydantic import ValidationError

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
_NAME = re.compile(r"\d{8,}\.json")


class Holder(Record):
    """Holder of an output lock.

    Attributes:
        run_id: Id of the run.
        host: Name of its machine.
        machine: Host, boot and process namespace, in which process ids are unique.
        pid: Id of the process.
        pid_started: Start of the process, seconds since the epoch, because ids are reused.
        taken_at: Time at which the lock was taken.
        heartbeat_at: Time of the last heartbeat.
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
        """Return this process as the holder, from now on."""
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
        """Return whether the holder may still be writing."""
        if self.machine == _machine():
            return _is_running(self.pid, self.pid_started)
        return datetime.now(UTC) - self.heartbeat_at < STALE_AFTER


class OutputLock:
    """Lock on an output; `check` raises once another run has taken it over."""

    def __init__(self, uri: str, holder: Holder) -> None:
        self._uri, self._holder = uri, holder
        self._is_lost = threading.Event()
        self._renewed_at = time.monotonic()

    def check(self) -> None:
        """Check that the lock is still held.

        Raises:
            LockedError: If another run has taken it over, or the heartbeat is too old.
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
        """Write a heartbeat, unless another run has taken the lock over."""
        asked_at = time.monotonic()
        if not self._is_newest():
            self._is_lost.set()
            return
        alive = self._holder.model_copy(update={"heartbeat_at": datetime.now(UTC)})
        storage.publish(self._uri, alive.model_dump_json().encode())
        self._renewed_at = asked_at
        if not self._is_newest():  # taken between the check and the write
            self._is_lost.set()
            storage.remove(self._uri)

    def release(self) -> None:
        """Release the lock; if that fails, it expires."""
        if self._is_lost.is_set():
            return
        try:
            storage.remove(self._uri)
        except StorageError as err:
            logger.warning("lock: not released, it expires in %.0f s: %s", STALE_AFTER.total_seconds(), err)

    def _is_newest(self) -> bool:
        newest = _newest(self._uri.rpartition("/")[0])
        return newest is not None and newest[1].run_id == self._holder.run_id


@contextlib.contextmanager
def held(output_uri: str, run_id: str, *, take_over: bool = False) -> Iterator[OutputLock]:
    """Hold the lock on an output while the body runs.

    Args:
        output_uri: URI of the output.
        run_id: Id of the run that writes to it.
        take_over: Take the lock even from a holder with a heartbeat.

    Raises:
        LockedError: If another running flow holds it.
    """
    lock = _acquire(output_uri, run_id, take_over=take_over)
    is_over = threading.Event()
    heart = threading.Thread(target=_beat, args=(lock, is_over), name="output-lock", daemon=True)
    heart.start()
    try:
        yield lock
    finally:
        is_over.set()
        heart.join()
        lock.release()


def _acquire(output_uri: str, run_id: str, *, take_over: bool) -> OutputLock:
    folder = storage.join(output_uri, FOLDER)
    newest = _newest(folder)
    number = 1
    if newest is not None:
        number, holder = newest[0] + 1, newest[1]
        is_own = holder.run_id == run_id  # of an earlier attempt that could not release it
        if holder.is_alive() and not is_own and not take_over:
            raise _locked(output_uri, holder)
        logger.warning("lock: taken over from run %s, %s", holder.run_id, _last_heartbeat(holder))
    uri = _object_uri(folder, number)
    mine = Holder.this_process(run_id)
    is_mine = storage.create(uri, mine.model_dump_json().encode())
    winner = _newest(folder)  # the listing may have missed a higher number taken meanwhile
    if winner is None or winner[1].run_id != run_id:
        if is_mine:
            storage.remove(uri)
        raise _locked(output_uri, winner[1] if winner else mine)
    for earlier in _objects(folder):
        if _number(earlier) < number:
            storage.remove(earlier.uri)
    return OutputLock(uri, mine)


def _beat(lock: OutputLock, is_over: threading.Event) -> None:
    while not is_over.wait(HEARTBEAT_S):
        try:
            lock.renew()
        except (StorageError, LockedError) as err:  # missing or incomplete; the next heartbeat may succeed
            logger.warning("lock: no heartbeat, %s", err)


def _newest(folder: str) -> tuple[int, Holder] | None:
    """Return number and holder of the newest lock object, if there is one."""
    for _ in range(N_ATTEMPTS):
        found = _objects(folder)
        if not found:
            return None
        newest = max(found, key=_number)
        try:
            return _number(newest), Holder.model_validate_json(storage.read_bytes(newest.uri))
        except ValidationError as err:
            raise LockedError(
                f"{shown_uri(newest.uri)} is damaged: which run holds the output is unknown. If none does, remove it."
            ) from err
        except StorageError as err:
            if not isinstance(err.__cause__, FileNotFoundError):
                raise
            # removed between listing and reading: its successor has a higher number, so list again
    raise StorageError(f"{shown_uri(folder)} changed {N_ATTEMPTS} times while it was read.")


def _objects(folder: str) -> list[StoredObject]:
    """Return the objects of a lock, without what a file manager left there."""
    found = storage.list_objects(folder) if storage.exists(folder) else []
    return [o for o in found if _NAME.fullmatch(o.path)]


def _number(found: StoredObject) -> int:
    return int(Path(found.path).stem)


def _object_uri(folder: str, number: int) -> str:
    return storage.join(folder, f"{number:08d}.json")


def _locked(output_uri: str, holder: Holder) -> LockedError:
    return LockedError(
        f"{shown_uri(output_uri)} is held by run {holder.run_id} (process {holder.pid} on {holder.host}), "
        f"since {holder.taken_at:%F %T} UTC, {_last_heartbeat(holder)}. Wait until it ends; "
        "if it is dead, its lock is taken over 120 s after the last heartbeat."
    )


def _last_heartbeat(holder: Holder) -> str:
    """Return when a holder was last heard of, and if that is still to come, why."""
    ahead_s = (holder.heartbeat_at - datetime.now(UTC)).total_seconds()
    clocks = f" ({ahead_s:.0f} s ahead of the clock here: set both by NTP)" if ahead_s > 1 else ""
    return f"last heartbeat at {holder.heartbeat_at:%F %T} UTC{clocks}"


def _machine() -> str:
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    boot = boot_id.read_text().strip() if boot_id.exists() else ""
    return f"{platform.node()}:{boot}:{namespace.readlink() if namespace.is_symlink() else ''}"


def _is_running(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        # a killed process keeps its id until its parent waits for it, in a container without init for ever
        return bool(abs(process.create_time() - started) < 1) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
