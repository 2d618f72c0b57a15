"""Which scans a run has to work on, by the ledger alone: no Ray is started."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.engine.steps.up_to_date import Sorted, count_by_status, sort_scans
from tasks.io.pseudonyms import Seal
from tasks.io.scan_sources import ScanSource
from tasks.stages.segmentation_run import Run
from tests.stages.bright import bright_run

GOOD = ScanSource("", "", "file:///in/good.png", "f1", "raster", modified_s=10.0, scan_id="good")
REJECTED = replace(GOOD, uri="file:///in/bad.png", scan_id="bad", refused=("bad_name", "Rename it."))
YOUNG = replace(GOOD, uri="file:///in/young.png", scan_id="young", modified_s=30.0)
SCANS = (GOOD, REJECTED, YOUNG)


def _run(output: Path, run_id: str, **asked: object) -> Run:
    run = bright_run("file:///in", output.as_uri(), **asked)
    return replace(run, request=run.request.model_copy(update={"run_id": run_id}))


def _sorted(run: Run) -> Sorted:
    return sort_scans(SCANS, run, youngest_s=20.0)


def test_what_the_listing_rejects_is_a_row_and_never_due(tmp_path: Path) -> None:
    """It takes no seat in the model's queue; what may still be uploading is deferred."""
    run = _run(tmp_path, "20260101T000000000000Z-a")
    found = _sorted(run)
    assert found.due == [GOOD]
    assert count_by_status(found.known) == {"done": 0, "skipped": 0, "deferred": 1, "failed": 0, "not_a_scan": 0}
    [row] = found.rejected(run)
    assert (row.scan_id, row.status, row.error_code, row.error) == ("bad", "failed", "bad_name", "Rename it.")


@pytest.mark.parametrize("force", [False, True])
def test_a_known_rejection_is_no_news(tmp_path: Path, *, force: bool) -> None:
    """The next night lists it and reports no new failure; forcing cannot change what no model has seen."""
    first = _run(tmp_path, "20260101T000000000000Z-a")
    first.record_all(_sorted(first).rejected(first))
    found = _sorted(_run(tmp_path, "20260102T000000000000Z-b", force=force))
    assert found.new == [GOOD]
    assert [row.scan_id for row in found.known if row.status == "failed"] == ["bad"]


def test_another_key_is_refused(tmp_path: Path) -> None:
    """Ids hashed with two keys in one output would make every scan new, though the first run never ended."""
    keyed = [replace(_run(tmp_path, f"2026010{n}T000000000000Z-{n}"), seal=Seal(bytes([n]) * 32)) for n in (1, 2)]
    sealed = replace(GOOD, uri=keyed[0].seal.close_text(GOOD.uri))
    keyed[0].record(keyed[0].row(sealed, "failed", error_code="unreadable", error="Damaged."))
    assert [row.status for row in sort_scans([sealed], keyed[0], 20.0).known] == ["failed"]
    with pytest.raises(ConfigError, match="another LESIONS_ID_KEY"):
        sort_scans([sealed], keyed[1], 20.0)
