"""The last word of a flow: what makes a run not green, and with which exit code."""

import pytest

from tasks.core.errors import IncompleteError, InternalError
from tasks.core.handles import SegmentationHandle
from tasks.core.rows import ScanRow
from tasks.engine.steps.segment import common_bug
from tasks.runtime.completeness import require_complete

REF = SegmentationHandle(
    uri="memory://out", fingerprint="", counts={"done": 0, "skipped": 20, "deferred": 0, "failed": 3}, n_new_failures=3
)


def _row(n: int, code: str | None, error: str | None) -> ScanRow:
    return ScanRow.model_validate(
        {"scan_id": str(n), "source_uri": "", "source_fingerprint": "", "status": "failed", "error_code": code}
        | {"error": error, "model_digest": "", "params_digest": "", "mask_version": "", "code_version": ""}
    )


def test_lost_scans_end_a_run_incomplete() -> None:
    """New failures mean exit 3, and none of them are green."""
    with pytest.raises(IncompleteError, match="3 scans newly failed") as caught:
        require_complete(segmentation=REF)
    assert caught.value.exit_code == 3
    require_complete(segmentation=REF.model_copy(update={"n_new_failures": 0}))


def test_one_bug_in_every_scan_is_ours() -> None:
    """Where every scan that was due brought out the same bug, the run ends with exit 1 and says so."""
    with pytest.raises(InternalError, match=r"All of 3 scans .* reference 12ab34cd") as caught:
        require_complete(segmentation=REF.model_copy(update={"common_bug": "A bug, reference 12ab34cd."}))
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("rows", "is_ours"),
    [
        ([("internal_error", "A.")] * 3, True),
        ([("internal_error", "A.")] * 2, False),
        ([("internal_error", "A.")] * 3 + [("internal_error", "B.")], False),
        ([("internal_error", "A.")] * 3 + [(None, None)], False),
        ([("unreadable", "A.")] * 3, False),
        ([], False),
    ],
)
def test_a_bug_is_common_to_three_scans_at_least_and_to_all(rows: list[tuple[str, str]], is_ours: bool) -> None:
    """Two odd files, two bugs, or one scan that was done say that the installation works."""
    found = common_bug([_row(n, code, error) for n, (code, error) in enumerate(rows)])
    assert found == ("A." if is_ours else None)
