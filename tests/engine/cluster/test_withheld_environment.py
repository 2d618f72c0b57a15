"""Workers run decoders on bytes from outside: what such a process can read of its environment holds no key."""

import os
import subprocess
import sys

import pytest

from tasks.io.pseudonyms import KEY_VARIABLE
from tests.engine.cluster.looks_for_the_key import KEY, SCRIPT, require_withheld

pytestmark = pytest.mark.ray


def test_workers_of_this_machine_have_no_key() -> None:
    """A Ray that a flow starts inherits its environment, but its workers find neither the key nor Prefect's login."""
    run = subprocess.run(
        [sys.executable, SCRIPT, ""],
        env=os.environ | {KEY_VARIABLE: KEY, "PREFECT_API_KEY": KEY, "PREFECT_API_AUTH_STRING": KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    require_withheld(run.stdout)
