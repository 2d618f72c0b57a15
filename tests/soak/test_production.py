"""The stack as its users run it: set up, deployed, run, and each of its parts killed while it works."""

import sys
from collections.abc import Iterator

import httpx
import pytest

from tasks.core.rows import LedgerEntry
from tasks.io import ledger, storage
from tasks.io.tables import from_parquet
from tests.conftest import PREPARATION
from tests.emulators import BUCKET
from tests.phantoms import write_phantoms
from tests.soak.commands import n_recorded
from tests.soak.production import ENDED, MARKS, PREFECT, Stack, parameters, production, wait_for

pytestmark = MARKS

N_SCANS = 2400
"""A minute's work at this size."""

N_COPIES = 8
"""Of the scans, for a job that has to outlive its flow run for a while; with 3 it had ended before it was an orphan."""

PLACE = f"gs://{BUCKET}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack of three Ray nodes, provisioned and deployed, with labelled slices and scans in its bucket."""
    home = tmp_path_factory.mktemp("production")
    with production(home, n_nodes=3) as found:
        write_phantoms(home / "labelled", n_patients=5, n_slices=8, size_px=96)
        write_phantoms(home / "new", n_patients=1, n_slices=N_SCANS, size_px=96, first_patient=70)
        for folder, below in ((home / "labelled", "labelled"), (home / "new" / "frames", "scans")):
            files = [path for path in folder.rglob("*") if path.is_file()]
            uris = {path: f"{PLACE}/{below}/{path.relative_to(folder).as_posix()}" for path in files}
            storage.map_in_parallel(lambda path, uris=uris: storage.publish(uris[path], path.read_bytes()), files)
        copies = [(f"{PLACE}/long/{n}/{path.name}", path) for n in range(N_COPIES) for path in files]
        storage.map_in_parallel(lambda copy: storage.publish(copy[0], copy[1].read_bytes()), copies)
        first = found.command(sys.executable, "-m", "infra.provision")
        assert "created" in first
        second = found.command(sys.executable, "-m", "infra.provision")
        assert "created" not in second
        assert "changed" not in second.replace("unchanged", "")
        found.command(PREFECT, "--no-prompt", "deploy", "--all")
        found.start_worker()
        yield found


def _done_once(output: str) -> list[str]:
    """Return the scans an output's ledger has as done, each of which must be there once."""
    objects = storage.list_objects(storage.join(output, ledger.FOLDER))
    entries = [entry for o in objects for entry in from_parquet(LedgerEntry, storage.read_bytes(o.uri))]
    done = sorted(entry.scan_id for entry in entries if entry.status == "done")
    assert done == sorted(set(done))
    return done


def _begun(stack: Stack, output: str, run_id: str, n: int = 30) -> None:
    """Wait until a run's job has finished some scans, and not all."""
    wait_for("some scans", lambda: stack.state(run_id)["type"] in ENDED or n_recorded(output) >= n)
    assert stack.state(run_id)["type"] == "RUNNING", stack.state(run_id)
    assert n_recorded(output) < N_SCANS


def test_who_has_no_credentials_is_refused(stack: Stack) -> None:
    """Neither Prefect's API nor Ray's answers without its password or token."""
    assert httpx.post(f"{stack.url}/flow_runs/filter", json={}).status_code == 401
    assert httpx.get(f"{stack.ray.address}/api/jobs/").status_code in (401, 403)


def test_the_pipeline_and_a_night_complete(stack: Stack) -> None:
    """From labelled slices to a scored bundle through jobs of the cluster, then the deployed nightly as it is."""
    asked = {
        "source": f"{PLACE}/labelled",
        "out": f"{PLACE}/out",
        "preparation": PREPARATION.model_dump(mode="json"),
        "model": {"backbone": "resnet18", "encoder_weights": "none"},
        "training": {"epochs": 1, "batch_size": 8},
        "compute": {"ray_address": stack.ray.address},
    }
    run_id = stack.start("run-pipeline", asked)
    state = stack.end(run_id)
    assert state["type"] == "COMPLETED", state
    assert sorted(stack.jobs(run_id).values()) == ["SUCCEEDED"] * 3
    night = stack.start("segment-scans", parameters(stack, "masks"))
    assert stack.end(night)["type"] == "COMPLETED"
    assert len(_done_once(f"{PLACE}/masks")) == N_SCANS


def test_a_killed_flow_run_finds_its_job_again(stack: Stack) -> None:
    """Its process is killed in mid-job; it is started again by itself, attaches, and there was one job."""
    run_id = stack.start("segment-scans", parameters(stack, "killed"))
    _begun(stack, f"{PLACE}/killed", run_id)
    stack.flow_run_process().kill()
    wait_for("its crash", lambda: stack.state(run_id)["type"] in ("CRASHED", "SCHEDULED"))
    wait_for("its end", lambda: stack.state(run_id)["type"] == "COMPLETED")
    assert stack.n_restarts(run_id) == 1
    assert list(stack.jobs(run_id).values()) == ["SUCCEEDED"]
    assert len(_done_once(f"{PLACE}/killed")) == N_SCANS


def test_a_cancelled_run_stops_its_job(stack: Stack) -> None:
    """Cancelled in Prefect, the job on the cluster is stopped, and the output is free for the next run."""
    run_id = stack.start("segment-scans", parameters(stack, "cancelled"))
    _begun(stack, f"{PLACE}/cancelled", run_id)
    stack.command(PREFECT, "flow-run", "cancel", run_id)
    wait_for("its job's end", lambda: list(stack.jobs(run_id).values()) == ["STOPPED"])
    assert stack.end(run_id)["type"] == "CANCELLED"
    again = stack.start("segment-scans", parameters(stack, "cancelled"))
    assert stack.end(again)["type"] == "COMPLETED"
    assert len(_done_once(f"{PLACE}/cancelled")) == N_SCANS


def test_an_orphan_stops_and_its_run_is_found_dead_and_started_again(stack: Stack) -> None:
    """Worker and flow run die at once: the job stops itself, the automation marks the run, a new worker ends it."""
    asked = parameters(stack, "orphaned", orphan_minutes=1.0) | {"scans": f"{PLACE}/long"}
    run_id = stack.start("segment-scans", asked)
    _begun(stack, f"{PLACE}/orphaned", run_id)
    stack.kill_worker()
    wait_for("its job's end", lambda: list(stack.jobs(run_id).values()) == ["FAILED"])
    wait_for("the automation", lambda: stack.state(run_id)["type"] in ("CRASHED", "SCHEDULED"))
    assert "No heartbeat: its process or pod has died." in [state["message"] for state in stack.states(run_id)]
    stack.start_worker()
    wait_for("its end", lambda: stack.state(run_id)["type"] == "COMPLETED")
    assert len(_done_once(f"{PLACE}/orphaned")) == N_COPIES * N_SCANS


def test_a_lost_head_is_a_clear_failure_and_another_try_redoes_nothing(stack: Stack) -> None:
    """The head dies in mid-job: the run says so and fails; with a new cluster the next run goes on by the ledger."""
    output = f"{PLACE}/lost"
    run_id = stack.start("segment-scans", parameters(stack, "lost"))
    _begun(stack, output, run_id)
    stack.kill_ray()
    state = stack.end(run_id)
    assert (state["type"], "Ray" in state["message"]) == ("FAILED", True), state
    n_before = n_recorded(output)
    stack.start_ray()
    again = stack.start("segment-scans", parameters(stack, "lost"))
    assert stack.end(again)["type"] == "COMPLETED"
    assert 0 < n_before < N_SCANS
    assert len(_done_once(output)) == N_SCANS
