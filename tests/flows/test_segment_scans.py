"""What Prefect keeps of a segmentation: its state, its artifacts, and the failures by name."""

import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from flows.segment_scans import segment_scans
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.rows import ScanRow
from tasks.io import storage
from tasks.io.tables import from_parquet
from tests.bad_inputs import png
from tests.phantoms import write_phantoms
from tests.stages.series import ct_slices, ordinary_study
from tests.volumes import put_series, to_bytes

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
        assert client.read_flow_run(state.state_details.flow_run_id).name.startswith("segment frames with bright")
    summary = artifacts["segmentation"]
    assert summary.startswith("# 4 of 5 scans have a mask, 0 of them new; 1 was newly rejected")
    assert "| `unreadable` | 1 |" in summary
    assert f"Report: `{output.as_uri()}/report.html`" in summary
    assert [row["scan_id"] for row in json.loads(artifacts["segmentation-failed-scans"])] == ["bad_scan"]
    assert len(list((output / "masks").iterdir())) == 4


def test_an_ordinary_study_and_a_patient_cd_end_green(bright_bundle: str, tmp_path: Path) -> None:
    """Their CT series are done, what else they hold is counted by kind, and the flow run has completed."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    for folder, slices in ordinary_study().items():
        put_series(str(scans / "pacs" / folder), slices)
    disc = {f"IMAGES/{n:08d}": to_bytes(dataset) for n, dataset in enumerate(ct_slices(series=20))}
    disc |= {"DICOMDIR": bytes(300), "AUTORUN.INF": b"[autorun]", "VIEWER/logo.png": png(), "splash.jpg": png()}
    for name, content in disc.items():
        storage.publish(str(scans / "cd" / name), content)
    state = segment_scans(bright_bundle, str(scans), str(output), segmentation=AT_ONCE, return_state=True)
    assert state.is_completed(), state
    rows = {row.scan_id: row.status for row in from_parquet(ScanRow, (output / "scans.parquet").read_bytes())}
    assert [scan_id for scan_id, status in rows.items() if status == "done"] == ["cd__IMAGES", "pacs__CT"]
    assert sum(status == "not_a_scan" for status in rows.values()) == len(rows) - 2 == 7
    [warning] = [
        text for text in json.loads((output / "manifest.json").read_text())["warnings"] if "left alone" in text
    ]
    assert warning == "4 files are no scans and were left alone: 1 .inf, 2 pictures beside DICOM, 1 system file."
