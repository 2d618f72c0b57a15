"""What Prefect keeps of a segmentation: its state, its artifacts, and the failures by name."""

import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from flows.segment_scans import segment_scans
from tasks.core.config.segmentation import SegmentationConfig
from tests.phantoms import write_phantoms

pytestmark = [
    pytest.mark.ray,
    pytest.mark.server,
    pytest.mark.usefixtures("ray_session", "prefect_server", "bright_step"),
]

AT_ONCE = SegmentationConfig(settle_minutes=0)


def test_good_slices_complete_and_one_bad_one_ends_it_not_green(bright_bundle: str, tmp_path: Path) -> None:
    """With a corrupt slice the rest is published, the flow run has failed, and its artifacts name the slice and why."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    write_phantoms(scans, n_patients=1, n_slices=4, size_px=96, first_patient=60)
    for n_bad in (0, 1):
        if n_bad:
            (scans / "frames" / "bad_scan.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
        state = segment_scans(
            bright_bundle, str(scans / "frames"), str(output), segmentation=AT_ONCE, return_state=True
        )
        assert state.is_failed() if n_bad else state.is_completed(), state
    assert "1 scan newly failed" in (state.message or "")
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        artifacts = {artifact.key: str(artifact.data) for artifact in client.read_artifacts(artifact_filter=of_run)}
    assert "unreadable" in artifacts["segmentation-failures"]
    assert [row["scan_id"] for row in json.loads(artifacts["segmentation-failed-scans"])] == ["bad_scan"]
    assert json.loads(artifacts["segmentation"])[0] == {
        "done": 0,
        "skipped": 4,
        "deferred": 0,
        "failed": 1,
        "not_a_scan": 0,
    }
    assert len(list((output / "masks").iterdir())) == 4
