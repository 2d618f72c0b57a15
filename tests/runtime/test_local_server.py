"""Prefect's temporary server: starts at once, is found by flows, and is gone with its process."""

import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.core.errors import ServerError
from tasks.runtime import local_server
from tasks.runtime.local_server import LocalServer, begin_local_server

SCRIPT = """
import httpx
from prefect import flow
from prefect.settings import PREFECT_API_URL, get_current_settings
from tasks.runtime.local_server import begin_local_server, without_heartbeats

@flow
def heartbeat_frequency():
    return get_current_settings().flows.heartbeat_frequency

begin_local_server().wait()
with without_heartbeats():
    assert heartbeat_frequency() is None
for headers in ({}, {"Authorization": "Basic bGVzaW9uczp4"}):
    assert httpx.post(f"{PREFECT_API_URL.value()}/flow_runs/filter", headers=headers).status_code == 401
print(PREFECT_API_URL.value())
"""


@pytest.mark.server
def test_flows_find_it_and_it_ends_with_its_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A flow runs on it, without heartbeats, at the address in Prefect's settings; afterwards nothing is there.

    Who has not its password gets no answer, and no other user can read its database.
    """
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "prefect.db").touch(mode=0o644)  # as earlier servers made it
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    address = run.stdout.split()[-1]
    assert f"Starting temporary server on {address.removesuffix('/api')}" in run.stderr + run.stdout
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")
    assert (tmp_path / "prefect.db").stat().st_size > 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]


def test_none_starts_beside_a_configured_one() -> None:
    """Deployments and whoever set an address have a server."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert begin_local_server() is None


@pytest.mark.parametrize("script", ["pass", "import time; time.sleep(60)"], ids=["ends", "is silent"])
def test_one_that_does_not_respond_is_restarted_once_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """One sentence says so after the second, and neither process is left."""
    monkeypatch.setattr(local_server, "SERVER", ("-c", script))
    monkeypatch.setattr(
        local_server, "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", type("_", (), {"value": lambda: 0.3})
    )
    before = set(psutil.Process().children())
    with pytest.raises(ServerError, match=r"within 0.3 s, 2 times"):
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
