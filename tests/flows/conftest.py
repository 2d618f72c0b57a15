"""What the flows' tests share: a segmentation without a network."""

import pytest

from tasks.core.step_inputs import SegmentRequest


@pytest.fixture
def bright_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let flows segment with the stand-in of `bright_bundle` where they would with a network."""
    from tasks.engine.jobs import dispatch

    monkeypatch.setitem(dispatch.STEPS, "segment", ("tests.engine.bright_bundle:segment_bright", SegmentRequest))
