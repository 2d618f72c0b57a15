"""Prefect's temporary server, for runs without a configured server.

Flows would start one themselves, by `prefect.server.api.server.SubprocessASGIServer` (prefect 3.8.8). That imports the
whole server into this process, too, which takes 1.7 s; it waits while nothing else starts; and it ends in a traceback
if a busy machine exceeds the timeout.
"""

import atexit
import contextlib
import logging
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import prefect
from prefect.context import refresh_global_settings_context
from prefect.logging import get_logger
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    Settings,
    get_current_settings,
    temporary_settings,
)

from tasks.core.errors import ServerError

logger = logging.getLogger(__name__)

N_STARTS = 2
"""Number of start attempts; the second is faster, because the files are in the page cache."""

PRIVATE_UMASK = 0o077
POLL_S = 0.1
STOP_TIMEOUT_S = 5.0

SERVER = (
    *("-P", "-m", "tasks.runtime.server_process"),  # -P: else modules of the current folder go first
    *("--app-dir", str(prefect.__module_path__.parent)),
    *("--factory", "prefect.server.api.server:create_app"),
    *("--host", "127.0.0.1", "--log-level", "error", "--lifespan", "on"),
)
SERVER_ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""Command and variables of the process, as SubprocessASGIServer has them: no UI, and no services but those of runs."""


class LocalServer:
    """Process of a temporary server, started at once; stopped when this process exits.

    It asks for a password of its own, because other users of this machine reach its port, and the files it makes are
    for this user alone.
    """

    def __init__(self) -> None:
        self._password = f"lesions:{secrets.token_urlsafe(32)}"
        self._start()
        atexit.register(self.stop)

    def wait(self) -> None:
        """Wait until the server responds, and let flows find it.

        Raises:
            ServerError: If it does not within PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, twice.
        """
        timeout_s = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
        for n_left in reversed(range(N_STARTS)):
            if self._responds_within(timeout_s):
                break
            status = self._process.poll()
            self.stop()
            if not n_left:
                raise ServerError(_too_slow(timeout_s) if status is None else _ended(status))
            logger.warning("Prefect's temporary server has not started; starting it again")
            self._start()
        os.environ["PREFECT_API_URL"] = f"{self._address}/api"
        os.environ["PREFECT_API_AUTH_STRING"] = self._password
        os.environ.setdefault("PREFECT_UI_URL", "")  # it has no UI that runs could link to
        refresh_global_settings_context()

    def stop(self) -> None:
        """Stop the process, if it runs."""
        if self._process.poll() is not None:
            return
        get_logger().info(f"Stopping temporary server on {self._address}")
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        port = _free_port()
        self._address, self._started = f"http://127.0.0.1:{port}", time.monotonic()
        get_logger().info(f"Starting temporary server on {self._address}")
        settings = get_current_settings().to_environment_variables(exclude_unset=True)  # those of the active profile
        password = {"PREFECT_SERVER_API_AUTH_STRING": self._password}
        _make_private(get_current_settings().home)
        self._process = subprocess.Popen(  # noqa: S603  # nothing in it is a user's
            [sys.executable, *SERVER, "--port", str(port), str(os.getpid())],
            env=os.environ | SERVER_ENVIRONMENT | settings | password,
            umask=PRIVATE_UMASK,
            process_group=0,  # or Ctrl-C would end it before the flow could record that it was stopped
        )

    def _responds_within(self, timeout_s: float) -> bool:
        """Return whether the server responds before the time since its start is over; look at least once."""
        with httpx.Client() as client:
            while self._process.poll() is None:  # else its port was taken, in the moment since it was free
                try:
                    if client.get(f"{self._address}/api/health").is_success:
                        return True
                except httpx.HTTPError:
                    pass
                if time.monotonic() > self._started + timeout_s:
                    return False
                time.sleep(POLL_S)
        return False


def _too_slow(timeout_s: float) -> str:
    return (
        f"Prefect's temporary server did not respond within {timeout_s} s, {N_STARTS} times; the machine may be too "
        "busy. Start again later, raise PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, or set PREFECT_API_URL to a "
        "server that runs."
    )


def _ended(status: int) -> str:
    return (
        f"Prefect's temporary server ended as it started, {N_STARTS} times (exit status {status}); what it said stands "
        "above. Check PREFECT_HOME and its database, or set PREFECT_API_URL to a server that runs."
    )


def _make_private(home: Path) -> None:
    """Let no other user read the database of earlier servers; its file keeps the mode that it was made with."""
    for database in home.glob("*.db*"):
        with contextlib.suppress(OSError):  # another user's
            database.chmod(0o666 & ~PRIVATE_UMASK)


def begin_local_server() -> LocalServer | None:
    """Start Prefect's temporary server and return it, for the flow to wait for; None if a server is configured."""
    return None if PREFECT_API_URL.value() else LocalServer()


def without_heartbeats() -> AbstractContextManager[Settings]:
    """Let the flows of the body send no heartbeats, which nobody watches on a temporary server.

    A flow waits up to a second for the thread that sends them (prefect 3.8.8: `prefect/flow_engine.py:347`).
    """
    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
