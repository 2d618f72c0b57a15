"""Addresses of deployments: what is not in the environment is refused by name."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.addresses import MAY_BE_EMPTY, NEEDED

COMPLETE = dict.fromkeys(NEEDED, "gs://bucket/a") | dict.fromkeys(MAY_BE_EMPTY, "")


@pytest.mark.parametrize("left_out", [None, *NEEDED, *MAY_BE_EMPTY])
def test_a_variable_that_is_not_set_is_refused_by_name(left_out: str | None) -> None:
    """As the build step of prefect.yaml runs it, from the folder of that file, without our packages."""
    environment = {name: value for name, value in COMPLETE.items() if name != left_out}
    command = [
        sys.executable,
        "-I",
        "-c",
        "import runpy, sys; sys.path.insert(0, '.'); runpy.run_module('infra.addresses', run_name='__main__')",
    ]
    ended = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, (left_out or "") in ended.stderr) == (0 if left_out is None else 1, True)
    assert ("Not deployed: set" in ended.stderr) == (left_out is not None)
