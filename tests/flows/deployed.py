"""A real Prefect server with the deployments of prefect.yaml and a real process worker, started on loopback."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from tasks.runtime.slots import GPU_LIMIT, GPU_TAG

ROOT = Path(__file__).parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))
LEASE_STORAGE = "prefect.server.concurrency.lease_storage.filesystem"
TIMEOUT_S = 420
BUSY_S = 20


@dataclass(frozen=True, slots=True)
class Server:
    """A running server with a worker, and how to talk to it."""

    url: str
    environment: dict[str, str]
    restart: Callable[[], None]

    def prefect(self, *arguments: str) -> str:
        """Run the `prefect` command against this server and return what it prints."""
        run = subprocess.run(
            [PREFECT, "--no-prompt", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def provision(self) -> str:
        """Run `python -m infra.provision` and return what it says."""
        command = [sys.executable, "-m", "infra.provision"]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=True)
        return " ".join(done.stdout.split())

    def n_taken(self) -> int:
        """Return how many GPU slots are taken."""
        limit = httpx.get(f"{self.url}/v2/concurrency_limits/{GPU_LIMIT}", timeout=30).raise_for_status().json()
        return int(limit["active_slots"])

    def logs(self) -> str:
        """Return the newest lines of all runs' logs."""
        found = self.post("/logs/filter", {"sort": "TIMESTAMP_DESC", "limit": 100})
        return "\n".join(line["message"] for line in found)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask the server's API."""
        return self._ask("POST", path, json=body).json()

    def newest_gpu_step(self) -> dict[str, Any] | None:
        """Return the newest task run that wants a GPU slot."""
        wanted = {"task_runs": {"tags": {"all_": [GPU_TAG]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
        return next(iter(self.post("/task_runs/filter", wanted)), None)

    def heartbeats(self, flow_run: dict[str, Any]) -> list[datetime]:
        """Return when a flow run said that it lives."""
        of_run = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "order": "ASC"}
        of_run |= {"resource": {"id": [f"prefect.flow-run.{flow_run['id']}"]}}
        found = self.post("/events/filter", {"filter": of_run, "limit": 50})["events"]
        return [datetime.fromisoformat(event["occurred"]) for event in found]

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a deployment as the server has it."""
        (found,) = self.post("/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        return dict(found)

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a deployment from the command line, as a user does, and return the id of its flow run."""
        said = self.prefect("deployment", "run", deployment, "--params", json.dumps(parameters))
        (found,) = re.findall(r"UUID: ([0-9a-f-]{36})", said)
        return str(found)

    def run(self, deployment: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Start a deployment, wait until it ends, and return the flow run."""
        return self.ended({"id": {"any_": [self.start(deployment, parameters)]}})

    def delete(self, path: str) -> None:
        """Delete something by the server's API."""
        self._ask("DELETE", path)

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Send a request, again while the server is busy: on a loaded machine its database is locked now and then."""
        deadline = time.monotonic() + BUSY_S
        while True:
            response = httpx.request(method, f"{self.url}{path}", timeout=30, **content)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                return response.raise_for_status()
            time.sleep(0.5)

    def ended(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Return the one flow run that a filter finds, once it has ended."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            (run,) = self.post("/flow_runs/filter", {"flow_runs": wanted})
            if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
                return dict(run)
            time.sleep(0.5)
        raise AssertionError(f"{wanted} did not end within {TIMEOUT_S} s")

    def artifacts(self, flow_run: dict[str, Any]) -> dict[str, Any]:
        """Return a flow run's artifacts by key."""
        found = self.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run["id"]]}}})
        return {artifact["key"]: artifact["data"] for artifact in found}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(home: Path) -> Iterator[Server]:
    """Start a Prefect server, the deployments of prefect.yaml, and a process worker."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASE_STORAGE,
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",  # 60 by default: a new schedule may wait that long
        "PREFECT_WORKER_QUERY_SECONDS": "2",  # 10 by default
        "LESIONS_MODEL_URI": "memory://model",
        "LESIONS_SCANS_URI": "memory://scans",
        "LESIONS_OUTPUT_URI": "memory://output",
        **dict.fromkeys(("LESIONS_RAY_ADDRESS", "LESIONS_DATASET_URI", "LESIONS_CANDIDATE_URI"), ""),
    }
    processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(name: str, *command: str) -> None:
        with (home / f"{name}.log").open("ab") as log:
            processes[name] = subprocess.Popen([PREFECT, *command], env=environment, stdout=log, stderr=log, cwd=home)

    def start_server() -> None:
        start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        _wait_for(f"{url}/health")

    def restart() -> None:
        processes["server"].terminate()
        processes["server"].wait(timeout=60)
        start_server()

    try:
        start_server()
        running = Server(url, environment, restart)
        running.provision()
        running.prefect("deploy", "--all")
        start("worker", "worker", "start", "--pool", "lesions-local", "--name", "test-worker")
        yield running
    finally:
        for process in reversed(processes.values()):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:  # a worker now and then waits for ever for what it polls
                process.kill()
                process.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer within 90 s")
