"""A real Prefect server and a real process worker, started here on loopback, run what prefect.yaml deploys."""

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
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from infra.automations import SILENT_S
from tasks.io.outputs import bundles
from tasks.runtime.doctor import check_prefect
from tasks.runtime.slots import GPU_LIMIT, GPU_TAG
from tests.conftest import MILD, MODEL, PREPARATION, TRAINING, Trained
from tests.flows.holds_a_slot import END, HELD
from tests.phantoms import write_phantoms

pytestmark = [pytest.mark.server, pytest.mark.ray, pytest.mark.tf]

ROOT = Path(__file__).parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))
LEASE_STORAGE = "prefect.server.concurrency.lease_storage.filesystem"
TIMEOUT_S = 420
SOON_S = 10
"""Long enough for a step that need not wait to have begun."""
PLANNED_S = 12
"""Time for the server to find a new schedule before it is due: it plans only what lies ahead."""
WITHIN_S = 90
"""Of whatever comes by itself."""


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
        return httpx.post(f"{self.url}{path}", json=body, timeout=30).raise_for_status().json()

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
        httpx.delete(f"{self.url}{path}", timeout=30).raise_for_status()

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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prefect server, the deployments of prefect.yaml, and a process worker."""
    home = tmp_path_factory.mktemp("prefect-home")
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
                process.wait(timeout=60)
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


def test_segmentation_is_nightly_one_at_a_time(server: Server) -> None:
    """The deployed segment-scans runs by cron in a named time zone, limit 1, a second one cancelled."""
    deployment = server.deployment("segment-scans")
    (schedule,) = deployment["schedules"]
    assert schedule["schedule"] == {"cron": "0 2 * * *", "timezone": "Europe/Berlin", "day_or": True}
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert deployment["global_concurrency_limit"]["limit"] == 1
    names = {row["name"] for row in server.post("/deployments/filter", {})}
    flows = {"prepare-dataset", "train-model", "evaluate-model", "segment-scans", "run-pipeline"}
    assert names == flows | {f"{name}-cloud" for name in flows}


def test_a_schedule_starts_a_run_that_nobody_started(server: Server, trained: Trained, tmp_path: Path) -> None:
    """A deployment with an active schedule runs by itself when its time has come, to Completed; the doctor agrees."""
    write_phantoms(tmp_path / "scans", n_patients=1, n_slices=2, size_px=96, first_patient=62)
    output = tmp_path / "output"
    parameters = {
        "model_uri": trained.model_uri,
        "scans": str(tmp_path / "scans" / "frames"),
        "output": str(output),
        "segmentation": {"settle_minutes": 0},
    }
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=PLANNED_S)
    schedule = {"interval": timedelta(days=1).total_seconds(), "anchor_date": at.isoformat(), "timezone": "UTC"}
    url = f"/deployments/{server.deployment('segment-scans')['id']}/schedules"
    (made,) = server.post(url, [{"schedule": schedule, "active": True, "parameters": parameters}])
    of_tonight = {"expected_start_time": {"after_": at.isoformat(), "before_": at.isoformat()}}
    _until("the server to schedule it", lambda: bool(server.post("/flow_runs/filter", {"flow_runs": of_tonight})))
    with temporary_settings({PREFECT_API_URL: server.url}):
        found = check_prefect()
    assert found.is_well, found.sentence
    run = server.ended(of_tonight)
    server.delete(f"{url}/{made['id']}")
    assert (run["state_type"], run["auto_scheduled"]) == ("COMPLETED", True), run["state"]
    assert len(list((output / "masks").iterdir())) == 2


@pytest.mark.soak
def test_a_gpu_step_waits_for_another(server: Server, trained: Trained, tmp_path: Path) -> None:
    """While the one slot for GPU steps is taken, a segmentation waits and writes nothing; then it completes."""
    last = server.newest_gpu_step()
    slot = {"names": [f"tag:{GPU_TAG}"], "slots": 1, "mode": "concurrency"}
    server.post("/v2/concurrency_limits/increment", slot)
    write_phantoms(tmp_path / "scans", n_patients=1, n_slices=2, size_px=96, first_patient=61)
    output = tmp_path / "output"
    parameters = {
        "model_uri": trained.model_uri,
        "scans": str(tmp_path / "scans" / "frames"),
        "output": str(output),
        "segmentation": {"settle_minutes": 0},
    }
    run_id = server.start("segment-scans/segment-scans", parameters)
    deadline = time.monotonic() + TIMEOUT_S
    while server.newest_gpu_step() == last:
        assert time.monotonic() < deadline, "no step asked for the slot"
        time.sleep(1)
    time.sleep(SOON_S)
    waiting = server.newest_gpu_step()
    assert waiting is not None
    assert (waiting["name"].split("-")[0], waiting["state_type"]) == ("segment", "PENDING")
    assert not output.exists()
    server.post("/v2/concurrency_limits/decrement", slot | {"occupancy_seconds": 1})
    assert server.ended({"id": {"any_": [run_id]}})["state_type"] == "COMPLETED"
    assert len(list((output / "masks").iterdir())) == 2


@contextmanager
def _holding(server: Server, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a flow whose GPU step, once it has its slot, holds it until `_end` is called; killed if it never is."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.flows.holds_a_slot", str(folder)]
    flow_run = subprocess.Popen(command, env=server.environment, cwd=ROOT)
    try:
        yield flow_run
    finally:
        flow_run.kill()
        flow_run.wait()


def _end(flow_run: subprocess.Popen[bytes], folder: Path) -> None:
    (folder / END).touch()
    assert flow_run.wait(timeout=WITHIN_S) == 0


def test_a_slot_is_given_back_though_the_server_restarted(server: Server, tmp_path: Path) -> None:
    """A server that is started as production.md says keeps a step's slot over a restart, and frees it when it ends."""
    folder = tmp_path / "night"
    with _holding(server, folder) as night:
        _until("the step to hold a slot", (folder / HELD).exists)
        server.restart()
        assert server.n_taken() == 1
        assert f"slots of {GPU_TAG}: unchanged" in server.provision()
        _end(night, folder)
    assert server.n_taken() == 0
    for page in ("infra/docs/production.md", "infra/compose/compose.yaml", "infra/kubernetes/network-policy.yaml"):
        assert LEASE_STORAGE in (ROOT / page).read_text(), page


def test_a_lost_slot_is_waited_for_aloud_and_released(server: Server, tmp_path: Path) -> None:
    """A server that forgets its leases keeps a slot; the next step says so, provisioning frees it, and no held one."""
    first, second = tmp_path / "first", tmp_path / "second"
    with _holding(server, first) as night:
        _until("the step to hold a slot", (first / HELD).exists)
        _until("the server to know", lambda: (server.newest_gpu_step() or {}).get("state_type") == "RUNNING")
        server.post(f"/concurrency_limits/tag/{GPU_TAG}/reset", {})  # what a restart does to leases kept in memory
        assert f"slots of {GPU_TAG}: unchanged" in server.provision()
        _end(night, first)
    assert server.n_taken() == 1, "the server gave back what it had forgotten"
    with _holding(server, second) as night:
        sentence = f"hold: waits for a slot of {GPU_TAG}; 1 of 1 slot taken, by no run; 1 held by nobody"
        _until("the step to say what it waits for", lambda: sentence in server.logs())
        assert not (second / HELD).exists()
        assert f"slots of {GPU_TAG}: released 1" in server.provision()
        _until("the step to have the slot", (second / HELD).exists)
        _end(night, second)
    assert server.n_taken() == 0


def _until(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.3)


def test_relative_paths_are_refused(server: Server) -> None:
    """A deployment given a relative path fails with what to give instead: a worker runs in a temporary folder."""
    parameters = {"parameters": {"model_uri": "model", "scans": "scans", "output": "output"}}
    made = server.post(f"/deployments/{server.deployment('segment-scans')['id']}/create_flow_run", parameters)
    run = server.ended({"id": {"any_": [made["id"]]}})
    assert run["state_type"] == "FAILED"
    assert "relative path" in run["state"]["message"]


def test_run_pipeline_completes(
    server: Server, trained: Trained, phantoms: Path, new_scans: Path, tmp_path: Path
) -> None:
    """The whole mission runs from its deployment to Completed, each output finished, and is never silent.

    Its training has the seed of another one, in another process, and gives the same weight file: every figure, too.
    """
    parameters = {
        "source": str(phantoms),
        "out": str(tmp_path),
        "scans": str(new_scans),
        "preparation": PREPARATION.model_dump(),
        "model": MODEL.model_dump(),
        "training": TRAINING.model_dump(),
        "augment": MILD.model_dump(),
        "segmentation": {"settle_minutes": 0},
    }
    run = server.run("run-pipeline/run-pipeline", parameters)
    assert run["state_type"] == "COMPLETED", run["state"]
    assert {"dataset", "training-history", "evaluation", "evaluation-patients"} <= server.artifacts(run).keys()
    for card in (
        "dataset/dataset.json",
        "model/model.json",
        "evaluation/metrics.json",
        "evaluation/report.html",
        "segmentation/manifest.json",
    ):
        assert (tmp_path / card).exists(), card
    digests = [bundles.read_card(uri).files["model.weights.h5"] for uri in (str(tmp_path / "model"), trained.model_uri)]
    assert digests[0] == digests[1]
    beats = server.heartbeats(run)
    assert len(beats) > 1
    assert max((later - earlier).total_seconds() for earlier, later in pairwise(beats)) < SILENT_S
