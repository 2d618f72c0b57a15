"""Ten rounds of nights with a fault each, in a real stack: every night ends by itself, and nothing is left of it."""

import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tasks.io import storage
from tests.conftest import Trained
from tests.emulators import BUCKET
from tests.phantoms import write_phantoms
from tests.soak.commands import masks_of, n_recorded
from tests.soak.production import ENDED, MARKS, PREFECT, Stack, parameters, production, wait_for

pytestmark = MARKS

N_ROUNDS = 10
N_SCANS = 1200
N_BEGUN = 30
DOWN_S = 130.0
"""Longer than a server remembers, by default, what it was going to do."""
PLACE = f"gs://{BUCKET}"


def _kill_flow_run(stack: Stack) -> None:
    stack.flow_run_process().kill()


def _replace_worker(stack: Stack) -> None:
    stack.kill_worker()
    stack.start_worker()


def _replace_ray(stack: Stack) -> None:
    stack.kill_ray()
    stack.start_ray()


def _restart_server(stack: Stack) -> None:
    stack.stop_server()
    stack.start_server()


def _crash_while_the_server_is_down(stack: Stack) -> None:
    """Kill the flow run, and stop the server once it knows, for longer than the restart would have taken."""
    [running] = stack.post("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})
    stack.flow_run_process().kill()
    wait_for("its crash", lambda: stack.state(running["id"])["type"] == "CRASHED")
    stack.stop_server()
    time.sleep(DOWN_S)
    stack.start_server()


FAULTS: dict[str, tuple[Callable[[Stack], None], int]] = {
    "flow-run": (_kill_flow_run, 1),
    "job": (Stack.kill_job, 0),
    "worker": (_replace_worker, 1),
    "ray": (_replace_ray, 0),
    "server": (_restart_server, 0),
    "crash-without-server": (_crash_while_the_server_is_down, 1),
}
"""What is done in the midst of a night, and how often its flow run is to be started again."""


@pytest.fixture(scope="module")
def stack(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack of three Ray nodes, provisioned and deployed, with a model and scans in its bucket."""
    home = tmp_path_factory.mktemp("rounds")
    with production(home, n_nodes=3) as found:
        write_phantoms(home / "new", n_patients=1, n_slices=N_SCANS, size_px=96, first_patient=70)
        files = [path for path in (home / "new" / "frames").iterdir() if path.is_file()]
        storage.map_in_parallel(lambda path: storage.publish(f"{PLACE}/scans/{path.name}", path.read_bytes()), files)
        for stored in storage.list_objects(trained.model_uri):
            storage.publish(f"{PLACE}/out/model/{stored.path}", storage.read_bytes(stored.uri))
        found.command(sys.executable, "-m", "infra.provision")
        found.command(PREFECT, "--no-prompt", "deploy", "--all")
        found.start_worker()
        yield found


@pytest.fixture(scope="module")
def undisturbed(stack: Stack) -> dict[str, bytes]:
    """The masks of a night without a fault."""
    run_id = stack.start("segment-scans", parameters(stack, "undisturbed"))
    state = stack.end(run_id)
    assert state["type"] == "COMPLETED", state
    masks = masks_of(f"{PLACE}/undisturbed")
    assert len(masks) == N_SCANS
    return masks


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", range(N_ROUNDS))
def test_a_night_with_a_fault_ends_by_itself(
    stack: Stack, undisturbed: dict[str, bytes], number: int, fault: str
) -> None:
    """One restart per crash, the masks of an undisturbed night, and no slot or lock is left."""
    do, n_restarts = FAULTS[fault]
    name = f"{fault}-{number}"
    run_id = stack.start("segment-scans", parameters(stack, name, orphan_minutes=5.0))
    wait_for("some scans", lambda: stack.state(run_id)["type"] in ENDED or n_recorded(f"{PLACE}/{name}") >= N_BEGUN)
    assert stack.state(run_id)["type"] == "RUNNING", stack.state(run_id)
    do(stack)
    wait_for("its end", lambda: stack.state(run_id)["type"] in {"COMPLETED", "FAILED", "CANCELLED"})
    told = [(state["timestamp"][11:19], state["name"], state["message"]) for state in stack.states(run_id)]
    assert told[-1][1] == "Completed", told
    assert stack.n_restarts(run_id) == n_restarts, told
    assert masks_of(f"{PLACE}/{name}") == undisturbed
    assert not storage.exists(f"{PLACE}/{name}/lease")
    limit = stack.get("/v2/concurrency_limits/tag:lesions-gpu")
    assert limit["active_slots"] == 0, limit
    storage.remove_tree(f"{PLACE}/{name}")
