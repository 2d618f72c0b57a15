"""A real Prefect server and a real process worker, started here on loopback, run what prefect.yaml deploys."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.runtime.doctor import check_prefect
from tasks.runtime.slots import GPU_TAG
from tests.conftest import Trained
from tests.flows.deployed import LEASE_STORAGE, ROOT, TIMEOUT_S, Server
from tests.flows.holds_a_slot import END, HELD
from tests.phantoms import write_phantoms

pytestmark = [pytest.mark.server, pytest.mark.ray]

SOON_S = 10
"""Long enough for a step that need not wait to have begun."""
PLANNED_S = 12
"""Time for the server to find a new schedule before it is due: it plans only what lies ahead."""
WITHIN_S = 90
"""Of whatever comes by itself."""


def test_segmentation_is_nightly_one_at_a_time(server: Server) -> None:
    """The deployed segment-scans runs by cron in a named time zone, limit 1, a second one cancelled."""
    deployment = server.deployment("segment-scans")
    (schedule,) = deployment["schedules"]
    assert schedule["schedule"] == {"cron": "0 2 * * *", "timezone": "Europe/Berlin", "day_or": True}
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert deployment["global_concurrency_limit"]["limit"] == 1
    names = {row["name"] for row in server.post("/deployments/filter", {})}
    flows = {"prepare-dataset", "train-model", "evaluate-model", "segment-scans", "review-segmentation", "run-pipeline"}
    assert names == flows | {f"{name}-cloud" for name in flows}


def test_a_schedule_starts_a_run_that_nobody_started(server: Server, bright_bundle: str, tmp_path: Path) -> None:
    """A deployment with an active schedule runs by itself when its time has come, to Completed; the doctor agrees.

    Its scans may still be uploading, so that no network is needed.
    """
    write_phantoms(tmp_path / "scans", n_patients=1, n_slices=2, size_px=96, first_patient=62)
    output = tmp_path / "output"
    parameters = {
        "model_uri": bright_bundle,
        "scans": str(tmp_path / "scans" / "frames"),
        "output": str(output),
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
    assert json.loads((output / "manifest.json").read_text())["counts"]["deferred"] == 2


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
        assert "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER" in (ROOT / page).read_text(), page


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
