"""A step as a job of a real Ray cluster that wants a token: same outputs, same errors, found again, and stopped."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tasks.core.errors import ClusterError
from tasks.core.handles import EvaluationHandle
from tasks.core.step_inputs import EvaluateRequest
from tasks.engine.jobs import client
from tasks.io.job_files import FOLDER
from tests.clusters import RayCluster, ray_cluster
from tests.conftest import Trained

pytestmark = [pytest.mark.ray, pytest.mark.tf]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A cluster of one node."""
    with ray_cluster() as found:
        yield found


CALL = """
import sys
from tasks.core.config.compute import ComputeConfig
from tasks.core.errors import LesionWorkflowError
from tasks.core.handles import EvaluationHandle
from tasks.core.step_inputs import EvaluateRequest
from tasks.engine.jobs import client
from tasks.engine.jobs.dispatch import run_step
request, address, version = sys.argv[1:]
request = EvaluateRequest.model_validate_json(request)
if version:
    client.code_version = lambda: version
try:
    ref = run_step("evaluate", request, EvaluationHandle, compute=ComputeConfig(ray_address=address),
                   output_uri=request.report_uri, flow_run_id="run")
except LesionWorkflowError as err:
    print(type(err).__name__, err)
else:
    print(ref.model_dump_json())
"""
"""A flow run's process: Ray takes its token from the environment once a process."""


def _call(cluster: RayCluster, trained: Trained, report: Path, *, version: str = "", **changes: str) -> str:
    """Evaluate through a job from another process, and return what that says."""
    request = EvaluateRequest(
        model_uri=changes.pop("model_uri", trained.model_uri),
        dataset_uri=trained.dataset_uri,
        report_uri=str(report),
        split="test",
    )
    answer = subprocess.run(
        [sys.executable, "-c", CALL, request.model_dump_json(), cluster.address, version],
        env=cluster.environment | changes,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()[-1]


def test_a_job_gives_what_the_step_gives_here(
    cluster: RayCluster, trained: Trained, report: Path, tmp_path: Path
) -> None:
    """Same metrics as from the process itself; only what came of it is left of the job."""
    assert EvaluationHandle.model_validate_json(_call(cluster, trained, tmp_path)).n_failed == 0
    ours, theirs = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path, report))
    assert (ours["pooled"], ours["per_patient"]) == (theirs["pooled"], theirs["per_patient"])
    assert [path.name for path in tmp_path.rglob(f"{FOLDER}/*/*")] == ["outcome.json"]


def test_a_job_raises_what_the_step_raises(cluster: RayCluster, trained: Trained, tmp_path: Path) -> None:
    """An error of ours crosses the wire as itself, with its sentence."""
    told = _call(cluster, trained, tmp_path, model_uri=str(tmp_path / "nothing"))
    assert told.startswith("ModelError")
    assert "nothing" in told


def test_a_cluster_with_other_code_refuses(cluster: RayCluster, trained: Trained, tmp_path: Path) -> None:
    """A flow run and a cluster of two releases never mix: refused, with both versions."""
    told = _call(cluster, trained, tmp_path, version="another release")
    assert told.startswith("ConfigError")
    assert "another rele" in told
    assert "same release" in told


def test_without_the_token_nothing_is_answered(cluster: RayCluster, trained: Trained, tmp_path: Path) -> None:
    """The Jobs API refuses who has no token or a wrong one; our error says where the token belongs."""
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert httpx.get(f"{cluster.address}/api/jobs/", headers=headers).status_code in (401, 403)
    told = _call(cluster, trained, tmp_path, **{"RAY_AUTH_TOKEN": "wrong"})  # noqa: PIE804 - it is no secret
    assert told.startswith("ClusterError")
    assert "RAY_AUTH_TOKEN" in told


def test_a_head_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nothing listens is one clear sentence, after a while."""
    monkeypatch.setattr(client, "LOST_AFTER_S", 0.0)
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1 did not take"):
        client.connect("http://127.0.0.1:1")
