"""What the flows' tests share: a server with deployments, and a segmentation without a network."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tasks.core.step_inputs import SegmentRequest

if TYPE_CHECKING:
    from tests.flows.deployed import Server


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Server]":
    """A Prefect server with the deployments of prefect.yaml, and a worker."""
    from tests.flows.deployed import serving  # here, because most tests do without

    with serving(tmp_path_factory.mktemp("prefect")) as running:
        yield running


@pytest.fixture
def bright_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let flows segment with the stand-in of `bright_bundle` where they would with a network."""
    from tasks.engine.jobs import dispatch

    monkeypatch.setitem(dispatch.STEPS, "segment", ("tests.engine.bright_bundle:segment_bright", SegmentRequest))
