"""What commands say at their end."""

from pathlib import Path

import pytest

from tasks.core.handles import EvaluationHandle, SegmentationHandle
from tasks.core.schemas import EvaluationReport
from tasks.runtime.closing_lines import as_json, closing_lines
from tests.core.samples import SAMPLES

ALL_DONE = SegmentationHandle(uri="file:///out", fingerprint="a", counts={"done": 3, "failed": 0}, n_new_failures=0)
NONE_DONE = ALL_DONE.model_copy(update={"counts": {"done": 0, "deferred": 2}})


@pytest.mark.parametrize("scans", [None, "file:///scans"])
def test_a_pipeline_ends_with_dice_report_and_masks(tmp_path: Path, scans: str | None) -> None:
    """The mean Dice with its interval, and paths of this machine without their scheme; masks if scans were given."""
    report = SAMPLES[EvaluationReport].model_copy(
        update={"per_patient_mean": {"dice": 0.8, "dice_ci95": [0.7, 0.9], "n_defined": 5}, "pooled": {"dice": 0.75}}
    )
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text(report.model_dump_json())
    handle = EvaluationHandle(uri=f"file://{tmp_path}/evaluation", fingerprint="a", n_failed=0)
    dice, *paths = closing_lines("flows.run_pipeline", handle, {"scans": scans})
    assert dice.startswith(f"Dice of {report.split}: mean 0.800 over")
    assert "(95 % interval 0.700 to 0.900), 0.750 pooled" in dice
    named = ["Report: {}/evaluation/report.html", "Model: {}/model"]
    named += ["Masks: {}/segmentation/masks", "Report of the scans: {}/segmentation/report.html"] if scans else []
    assert paths == [line.format(tmp_path) for line in named]


def test_a_segmentation_names_masks_where_there_are_any() -> None:
    """Counts without zeros, then the paths; a run that made no mask names no folder of them."""
    lines = closing_lines("flows.segment_scans", ALL_DONE, {})
    assert lines == ["Scans: 3 done", "Masks: /out/masks", "Report: /out/report.html"]
    assert closing_lines("flows.segment_scans", NONE_DONE, {}) == ["Scans: 2 deferred", "Report: /out/report.html"]


def test_machines_get_what_the_flow_returned() -> None:
    """A handle as its JSON, names as a dictionary, and an empty object of a command that returns nothing."""
    assert SegmentationHandle.model_validate_json(as_json(ALL_DONE)) == ALL_DONE
    assert as_json({"a": "b"}) == '{"a": "b"}'
    assert as_json(None) == "{}"
