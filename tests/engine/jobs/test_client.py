"""A step as a job of a real Ray cluster that wants a token: same outputs, same errors, and no key for its workers."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL
from ray.job_submission import JobSubmissionClient

from tasks.core.errors import ClusterError
from tasks.engine.jobs import connection
from tasks.io import storage
from tasks.io.job_files import FOLDER
from tasks.io.pseudonyms import KEY_VARIABLE
from tests.clusters import RayCluster, ray_cluster
from tests.conftest import PREPARATION
from tests.engine.cluster.looks_for_the_key import KEY, SCRIPT, require_withheld

pytestmark = [pytest.mark.ray, pytest.mark.server]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A cluster of one node, whose processes have the key of hashed ids in their environment."""
    with ray_cluster(**{KEY_VARIABLE: KEY}) as found:
        yield found


def _prepare(cluster: RayCluster, source: Path, dataset: Path) -> subprocess.CompletedProcess[str]:
    """Run `lesions prepare` on the cluster, from a process of its own: Ray takes its token once a process."""
    options = {
        "--compute.ray-address": cluster.address,
        "--preparation.size-px": str(PREPARATION.size_px),
        "--preparation.patient-id-pattern": str(PREPARATION.patient_id_pattern),
        "--preparation.fractions.val": str(PREPARATION.fractions.val),
        "--preparation.fractions.test": str(PREPARATION.fractions.test),
    }
    command = [sys.executable, "-m", "flows", "prepare", str(source), str(dataset)]
    return subprocess.run(
        [*command, *(part for pair in options.items() for part in pair)],
        env=cluster.environment | {"PREFECT_API_URL": PREFECT_API_URL.value() or ""},
        capture_output=True,
        text=True,
        check=False,
    )


def _contents(dataset: str) -> dict[str, bytes]:
    """Return what a dataset holds but for its card, which says when it was made of what."""
    found = {o.path: storage.read_bytes(o.uri) for o in storage.list_objects(dataset)}
    return {path: content for path, content in found.items() if path.startswith("slices/") or path == "cases.parquet"}


def test_a_job_gives_what_the_step_gives_here(
    cluster: RayCluster, dataset_uri: str, phantoms: Path, tmp_path: Path
) -> None:
    """Same dataset as from the process itself; only what came of it is left of the job."""
    run = _prepare(cluster, phantoms, tmp_path)
    assert run.returncode == 0, run.stderr
    ours, theirs = _contents(str(tmp_path)), _contents(dataset_uri)
    assert len(ours) > 3
    assert ours == theirs
    assert [path.name for path in tmp_path.rglob(f"{FOLDER}/*/*")] == ["outcome.json"]
    told = " ".join(run.stderr.split()) + " ".join(run.stdout.split())
    assert "prepare: 40 slices from 5 cases, 0 failed" in told, "what the job logged was not passed on"


def test_a_job_raises_what_the_step_raises(cluster: RayCluster, phantoms: Path, tmp_path: Path) -> None:
    """An error that only the step finds crosses the wire as itself, with its sentence and its exit code."""
    source = tmp_path / "source"
    for path in (path for path in phantoms.rglob("*") if path.is_file()):
        storage.publish(str(source / path.relative_to(phantoms)), b"")
    run = _prepare(cluster, source, tmp_path / "dataset")
    assert run.returncode == 2, run.stderr
    told = " ".join(run.stderr[run.stderr.rindex("ConfigError:") :].split())
    assert told.startswith("ConfigError: No usable slice is left for train, val, test; rejected: 40 empty_file.")


CONNECT = """
import sys
from tasks.core.errors import ClusterError
from tasks.engine.jobs import connection
try:
    connection.connect(sys.argv[1])
except ClusterError as err:
    print(err)
"""
"""In a process of its own, because Ray takes its token from the environment once."""


def test_without_the_token_nothing_is_answered(cluster: RayCluster) -> None:
    """The Jobs API refuses who has no token or a wrong one; our error says where the token belongs."""
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert httpx.get(f"{cluster.address}/api/jobs/", headers=headers).status_code in (401, 403)
    told = {
        token: subprocess.run(
            [sys.executable, "-c", CONNECT, cluster.address],
            env=cluster.environment | {"RAY_AUTH_TOKEN": token},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for token in ("wrong", cluster.environment["RAY_AUTH_TOKEN"])
    }
    assert "RAY_AUTH_TOKEN" in told.pop("wrong")
    assert [*told.values()] == [""]


def test_workers_of_a_job_have_no_key(cluster: RayCluster) -> None:
    """On a cluster whose nodes have the key, a job's driver finds it and the job's workers do not."""
    token = {"Authorization": f"Bearer {cluster.environment['RAY_AUTH_TOKEN']}"}
    jobs = JobSubmissionClient(cluster.address, headers=token)
    job_id = jobs.submit_job(entrypoint=f"{sys.executable} {SCRIPT} auto")
    while not jobs.get_job_status(job_id).is_terminal():
        time.sleep(0.2)
    require_withheld(jobs.get_job_logs(job_id))


def test_a_head_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nothing listens is one clear sentence, after a while."""
    monkeypatch.setattr(connection, "PATIENCE_S", 0.0)
    with pytest.raises(ClusterError, match=r"No Ray head responds at http://127\.0\.0\.1:1"):
        connection.connect("http://127.0.0.1:1")


def test_another_service_is_said(prefect_server: None) -> None:
    """An address where something else answers, as Prefect, is one clear sentence at once."""
    with pytest.raises(ClusterError, match="is no Ray head") as raised:
        connection.connect((PREFECT_API_URL.value() or "").removesuffix("/api"))
    assert not raised.value.can_pass
