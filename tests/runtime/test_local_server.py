"""Prefect's temporary server: starts at once, is found by flows, and is gone with its process."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.core.errors import ServerError
from tasks.runtime import local_server
from tasks.runtime.local_server import LocalServer, begin_local_server

SCRIPT = """
from prefect import flow
from prefect.settings import PREFECT_API_URL, get_current_settings
from tasks.engine.cluster.token import make_token_private
from tasks.runtime.local_server import begin_local_server, without_heartbeats

@flow
def heartbeat_frequency():
    return get_current_settings().flows.heartbeat_frequency

make_token_private()
begin_local_server().wait()
with without_heartbeats():
    assert heartbeat_frequency() is None
print(PREFECT_API_URL.value(), flush=True)
input()
"""
NOBODY = 65534


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder that other users may look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _as_nobody(*command: str) -> str:
    """Return what a command says, as another user where this one may become another."""
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **user)  # type: ignore[call-overload]
    return str(done.stdout + done.stderr)


def _status_without_login(address: str) -> str:
    """Return the status line of a request to a server, from a process without its password."""
    host, port = address.removeprefix("http://").removesuffix("/api").split(":")
    request = r"POST /api/flow_runs/filter HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"
    return _as_nobody("bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}; printf '{request}' >&3; head -n 1 <&3")


@pytest.mark.server
def test_flows_find_it_and_it_ends_with_its_process(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A flow runs on it, without heartbeats, at the address in Prefect's settings; afterwards nothing is there.

    Who has not its password gets no answer, and no other user can read its database or Ray's token.
    """
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(home))
    monkeypatch.setenv("HOME", str(home))
    (home / "prefect.db").touch(mode=0o644)  # as earlier servers made it
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        address = next((line.strip() for line in run.stdout if line.startswith("http")), "")
        assert address, run.communicate()
        assert " 401 " in _status_without_login(address)
        secrets = [home / "prefect.db", home / ".ray" / "auth_token"]
        if os.getuid() == 0:
            assert all("Permission denied" in _as_nobody("cat", str(path)) for path in secrets)
        assert not [path for path in home.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
        said, complained = run.communicate("\n")
    assert run.returncode == 0, complained
    assert f"Starting temporary server on {address.removesuffix('/api')}" in complained + said
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")
    assert (home / "prefect.db").stat().st_size > 0


@pytest.mark.server
def test_it_ends_with_a_command_that_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that can no longer stop it leaves none behind."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    script = "from tasks.runtime.local_server import begin_local_server as b; b(); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        run.stdout.readline()
        [server] = psutil.Process(run.pid).children()
        run.kill()
    server.wait(30)


def test_none_starts_beside_a_configured_one() -> None:
    """Deployments and whoever set an address have a server."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert begin_local_server() is None


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("raise SystemExit(7)", r"ended as it started, 2 times \(exit status 7\)"),
        ("import time; time.sleep(60)", "within"),
    ],
    ids=["ends", "is silent"],
)
def test_one_that_does_not_respond_is_restarted_once_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, script: str, sentence: str
) -> None:
    """One sentence says so after the second, and neither process is left."""
    monkeypatch.setattr(local_server, "SERVER", ("-c", script))
    monkeypatch.setattr(
        local_server, "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", type("_", (), {"value": lambda: 0.3})
    )
    before = set(psutil.Process().children())
    with pytest.raises(ServerError, match=sentence):
        LocalServer().wait()
    assert set(psutil.Process().children()) <= before


def test_one_that_was_up_before_it_is_waited_for_is_never_late(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The timeout is looked at only after the server, because other starts take time, too."""
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "health").touch()
    script = "import http.server as s, sys; s.test(s.SimpleHTTPRequestHandler, port=int(sys.argv[2]), bind='127.0.0.1')"
    monkeypatch.setattr(local_server, "SERVER", ("-c", script))
    monkeypatch.chdir(tmp_path)
    server = LocalServer()
    try:
        assert server._responds_within(60.0)
        assert server._responds_within(0.0)
    finally:
        server.stop()
