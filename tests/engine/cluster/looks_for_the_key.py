"""A driver, as a step is one: `python looks_for_the_key.py ADDRESS` looks for the key of hashed ids.

It prints what its workers found of it, now and as they began, and the key that it still has itself.
"""

import json
import os
import sys
import time
from pathlib import Path

import ray

from tasks.core.config.compute import ComputeConfig
from tasks.engine.cluster.environment import WITHHELD_FROM_WORKERS
from tasks.engine.cluster.session import session
from tasks.io.pseudonyms import Seal

SCRIPT = str(Path(__file__))
KEY = "correct horse battery staple"


@ray.remote(num_cpus=1)
def look() -> list[str]:
    """Return the variables of a worker that hold secrets."""
    time.sleep(0.5)  # so that every worker process gets one
    at_start = Path("/proc/self/environ").read_bytes().decode().split(chr(0))
    now = [f"{name}={os.environ.get(name, '')}" for name in WITHHELD_FROM_WORKERS]
    return [*now, *(v for v in at_start if v.partition("=")[0] in WITHHELD_FROM_WORKERS)]


def main(address: str) -> None:
    """Look in several workers and here."""
    with session(ComputeConfig(ray_address=address)):
        found = ray.get([look.remote() for _ in range(6)])
    sys.stdout.write(json.dumps({"workers": found, "driver": Seal.from_environment().secret.decode()}) + "\n")


def require_withheld(said: str) -> None:
    """Hold that the driver found the key and its workers did not."""
    found = json.loads(next(line for line in said.splitlines() if line.startswith('{"workers"')))
    assert found["driver"] == KEY
    assert {value for worker in found["workers"] for value in worker} <= {f"{name}=" for name in WITHHELD_FROM_WORKERS}


if __name__ == "__main__":
    main(sys.argv[1])
