"""A store that fails one request in ten: the same masks, and nothing lost."""

import os
import uuid
from pathlib import Path

import pytest

from tasks.io import storage
from tests import emulators
from tests.conftest import Trained
from tests.soak.commands import TIMEOUT_S, compare, start_segmentation

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.tf, pytest.mark.slow]

FRACTION = 0.1
N_TAKEN = 120


@pytest.mark.parametrize("scheme", emulators.SCHEMES)
def test_a_store_that_fails_one_request_in_ten_loses_nothing(
    trained: Trained, many_scans: Path, object_stores: dict[str, int], scheme: str, tmp_path: Path, log: Path
) -> None:
    """Refusals, silence, resets and short bodies, on all that is read and written: masks and rows as undisturbed."""
    root = f"{scheme}://{emulators.BUCKET}/{uuid.uuid4().hex}"
    for path in sorted(many_scans.iterdir())[:N_TAKEN]:
        storage.publish(f"{root}/scans/{path.name}", path.read_bytes())
    outputs = f"{root}/undisturbed", f"{root}/disturbed"
    with emulators.breaking(object_stores[scheme], FRACTION) as port:
        broken = os.environ | emulators.environment(scheme, port)
        for output, env in zip(outputs, (os.environ, broken), strict=True):
            run = start_segmentation(trained.model_uri, f"{root}/scans", output, env=env, log=log)
            assert run.wait(2 * TIMEOUT_S) == 0, log.read_text()
    compare(*outputs)
    storage.remove_tree(root)
