"""The production stack on loopback, each part for real: Postgres, Prefect with authentication, a worker, Ray, GCS."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests import emulators
from tests.clusters import RayCluster, free_port, ray_cluster

ROOT = Path(__file__).parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))
POSTGRES = Path("/usr/lib/postgresql")
MARKS = [
    pytest.mark.soak,
    pytest.mark.postgres,
    pytest.mark.slow,
    pytest.mark.skipif(not POSTGRES.exists(), reason="Postgres is not installed"),
]
"""Of tests that need all of it."""

USER = "lesions"
TIMEOUT_S = 600
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def wait_for(what: str, is_so: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
    """Look once a second until something is truthy, and return it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if found := is_so():
                return found
        time.sleep(1)
    raise TimeoutError(f"Waited {timeout_s:.0f} s for {what}.")


@dataclass(slots=True)
class Stack:
    """What runs, and how it is spoken to.

    Attributes:
        url: Of the Prefect API.
        environment: Of whoever uses it, with every secret.
        home: Where processes write what they say.
        ray: The cluster.
        server: The Prefect server.
        worker: The process worker.
    """

    url: str
    environment: dict[str, str]
    home: Path
    ray: RayCluster
    server: subprocess.Popen[bytes] | None = None
    worker: subprocess.Popen[bytes] | None = None

    def command(self, *command: str) -> str:
        """Run a command as an operator would, and return what it prints."""
        run = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask Prefect's API."""
        auth = tuple(self.environment["PREFECT_API_AUTH_STRING"].split(":"))
        return httpx.post(f"{self.url}{path}", json=body, auth=auth, timeout=30).raise_for_status().json()

    def states(self, run_id: str) -> list[dict[str, Any]]:
        """Return every state a flow run was in."""
        return list(self.get("/flow_run_states/", flow_run_id=run_id))

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a deployment, and return the id of its flow run."""
        [found] = self.post("/deployments/filter", {"deployments": {"name": {"any_": [deployment]}}})
        run = self.post(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def state(self, run_id: str) -> dict[str, Any]:
        """Return the state of a flow run."""
        [run] = self.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
        return dict(run["state"])

    def end(self, run_id: str) -> dict[str, Any]:
        """Wait until a flow run has ended, and return its state."""
        return dict(wait_for(f"the end of {run_id}", lambda: (s := self.state(run_id))["type"] in ENDED and s))

    def jobs(self, run_id: str) -> dict[str, str]:
        """Return the status of each job of a flow run, by its id."""
        token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        jobs = httpx.get(f"{self.ray.address}/api/jobs/", headers=token, timeout=10).raise_for_status().json()
        own = [job for job in jobs if (job["submission_id"] or "").startswith(run_id)]
        return {job["submission_id"]: job["status"] for job in own}

    def get(self, path: str, **asked: str) -> Any:
        """Read from Prefect's API."""
        auth = tuple(self.environment["PREFECT_API_AUTH_STRING"].split(":"))
        return httpx.get(f"{self.url}{path}", params=asked, auth=auth, timeout=30).raise_for_status().json()

    def start_server(self) -> None:
        """Start the Prefect server at its address, and wait until it responds."""
        port = self.url.rpartition(":")[2].removesuffix("/api")
        command = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", port]
        with (self.home / "server.log").open("ab") as log:
            self.server = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.home)
        wait_for("the Prefect server", lambda: httpx.get(f"{self.url}/health", timeout=2).is_success, 120)

    def stop_server(self) -> None:
        """Stop the Prefect server."""
        assert self.server
        self.server.terminate()
        self.server.wait(timeout=60)

    def kill_job(self) -> None:
        """Kill the driver of the one job that runs."""
        [driver] = [
            process
            for process in psutil.process_iter(["cmdline"])
            if process.info["cmdline"] and "tasks.engine.jobs.entrypoint" in process.info["cmdline"]
        ]
        driver.kill()

    def kill_ray(self) -> None:
        """Kill every node of the cluster."""
        for index in reversed(range(len(self.ray.nodes))):
            self.ray.kill(index)
        self.ray.nodes.clear()

    def start_ray(self) -> None:
        """Start a new cluster of two nodes at the address of the one before."""
        self.ray.start_head()
        self.ray.add_node()

    def n_restarts(self, run_id: str) -> int:
        """Return how often a flow run was started again."""
        return [state["name"] for state in self.states(run_id)].count("Running") - 1

    def start_worker(self) -> None:
        """Start a worker of the local pool."""
        command = [PREFECT, "worker", "start", "--pool", "lesions-local", "--name", "worker"]
        with (self.home / "worker.log").open("ab") as log:
            self.worker = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.home)

    def flow_run_process(self) -> psutil.Process:
        """Return the process of the one flow run that the worker runs."""
        assert self.worker
        children = psutil.Process(self.worker.pid).children(recursive=True)
        [found] = [child for child in children if any(part.startswith("prefect.") for part in child.cmdline())]
        return found

    def kill_worker(self) -> None:
        """Kill the worker and what it runs, so that nobody is left to tell of it."""
        assert self.worker
        process = psutil.Process(self.worker.pid)
        for member in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
        self.worker.wait()


@contextmanager
def _postgres(log_path: Path) -> Iterator[str]:
    """Run a Postgres of its own; yield the URL of a database, with its password.

    Its data lie in no folder of pytest: the next session of the same user makes their parent private (pytest 9.2,
    `_pytest/tmpdir.py`), and Postgres, which runs as another user, would lose them in mid-run.
    """
    with tempfile.TemporaryDirectory(prefix="lesions-postgres-") as folder:
        yield from _postgres_in(Path(folder), log_path)


def _postgres_in(folder: Path, log_path: Path) -> Iterator[str]:
    binaries = max(POSTGRES.iterdir()) / "bin"
    account = {}
    if os.getuid() == 0:  # which it refuses to run as
        account = {"user": "postgres"}
        shutil.chown(folder, "postgres")
    data, port, password = folder / "data", free_port(), secrets.token_hex(16)
    (folder / "password").write_text(password)
    (folder / "password").chmod(0o644)
    options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={folder / 'password'}"]
    subprocess.run([binaries / "initdb", "-D", data, *options], check=True, capture_output=True, cwd=folder, **account)
    command = [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder]
    with log_path.open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **account)
    try:
        ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait_for("Postgres", lambda: subprocess.run(ready, check=False).returncode == 0, 60)
        yield f"postgresql+asyncpg://{USER}:{password}@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)


@contextmanager
def production(home: Path, *, n_nodes: int) -> Iterator[Stack]:
    """Run everything; the worker is started, nothing is provisioned or deployed yet."""
    with ExitStack() as stack:
        database = stack.enter_context(_postgres(home / "postgres.log"))
        store = stack.enter_context(emulators.serving("gs"))
        os.environ.update(emulators.environment("gs", store))
        ray = stack.enter_context(ray_cluster(n_nodes))
        port = free_port()
        url, auth = f"http://127.0.0.1:{port}/api", f"admin:{secrets.token_hex(16)}"
        root = f"gs://{emulators.BUCKET}"
        environment = {key: value for key, value in ray.environment.items() if not key.startswith("PREFECT_")} | {
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_API_URL": url,
            "PREFECT_API_AUTH_STRING": auth,
            "PREFECT_SERVER_API_AUTH_STRING": auth,
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": "P1D",
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
            "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
            "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK": "remote-file-system/lesions-results",
            "LESIONS_RESULTS_URI": f"{root}/prefect-results",
            "LESIONS_ZOMBIE_SECONDS": "65",
            "LESIONS_RAY_ADDRESS": ray.address,
            "LESIONS_MODEL_URI": f"{root}/out/model",
            "LESIONS_SCANS_URI": f"{root}/scans",
            "LESIONS_OUTPUT_URI": f"{root}/masks",
            "LESIONS_DATASET_URI": f"{root}/out/dataset",
            "LESIONS_CANDIDATE_URI": f"{root}/candidate",
        }
        running = Stack(url, environment, home, ray)
        try:
            running.start_server()
            yield running
        finally:
            if running.worker and running.worker.poll() is None:
                running.kill_worker()
            running.stop_server()


def parameters(stack: Stack, name: str, **compute: Any) -> dict[str, Any]:
    """Return what a segmentation on the cluster is asked, into an output of its own."""
    root = f"gs://{emulators.BUCKET}"
    return {
        "model_uri": f"{root}/out/model",
        "scans": f"{root}/scans",
        "output": f"{root}/{name}",
        "segmentation": {"settle_minutes": 0},
        "compute": {"ray_address": stack.ray.address, **compute},
    }
