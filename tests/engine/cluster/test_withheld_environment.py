"""Workers run decoders on bytes from outside: what such a process can read of its environment holds no key."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from tasks.io.pseudonyms import KEY_VARIABLE
from tests.clusters import ray_cluster

pytestmark = pytest.mark.ray

KEY = "correct horse battery staple"
LOOK = f"""
import json, os, sys, time
from pathlib import Path
import ray
from tasks.core.config.compute import ComputeConfig
from tasks.engine.cluster.session import session
from tasks.io.pseudonyms import Seal

@ray.remote(num_cpus=1)
def look() -> list[str]:
    time.sleep(0.5)  # so that every worker process gets one
    at_start = Path("/proc/self/environ").read_bytes().decode().split(chr(0))
    return [f"{KEY_VARIABLE}=" + os.environ.get("{KEY_VARIABLE}", ""), *(v for v in at_start if "{KEY_VARIABLE}" in v)]

with session(ComputeConfig(ray_address=sys.argv[1])):
    found = ray.get([look.remote() for _ in range(6)])
print(json.dumps({{"workers": found, "driver": Seal.from_environment().secret.decode()}}))
"""
"""A driver, as a step is one; it prints what its workers found, and the key that it still has itself."""


def _require_withheld(said: str) -> None:
    found = json.loads(next(line for line in said.splitlines() if line.startswith('{"workers"')))
    assert found["driver"] == KEY
    assert {value for worker in found["workers"] for value in worker} <= {f"{KEY_VARIABLE}="}


def test_workers_of_this_machine_have_no_key() -> None:
    """A Ray that a flow starts inherits its environment, but its workers find the key neither now nor as they began."""
    run = subprocess.run(
        [sys.executable, "-c", LOOK, ""],
        env=os.environ | {KEY_VARIABLE: KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    _require_withheld(run.stdout)


def test_workers_of_a_job_have_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster whose nodes have the key, a job's driver finds it and the job's workers do not."""
    script = tmp_path / "look.py"
    script.write_text(LOOK)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with ray_cluster() as cluster:
        token = {"Authorization": f"Bearer {cluster.environment['RAY_AUTH_TOKEN']}"}
        client = JobSubmissionClient(cluster.address, headers=token)
        job_id = client.submit_job(entrypoint=f"{sys.executable} {script} auto")
        while not client.get_job_status(job_id).is_terminal():
            time.sleep(1)
        _require_withheld(client.get_job_logs(job_id))
