"""A collection of everything, good and bad, plain and packed, through the real step on Ray with a stand-in model."""

import json
import time
from pathlib import Path

import pytest

from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.errors import NOT_SCAN_CODES
from tasks.core.handles import SegmentationHandle
from tasks.core.rows import LedgerEntry, ScanRow
from tasks.core.step_inputs import SegmentRequest
from tasks.io import storage
from tasks.io.tables import from_parquet
from tests.bad_inputs import ARCHIVES, FILES, good, tar
from tests.engine.bright_bundle import segment_bright

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

AT_ONCE = SegmentationConfig(settle_minutes=0)


def _segment(bundle: str, scans: Path, output: Path, asked: SegmentationConfig = AT_ONCE) -> SegmentationHandle:
    request = SegmentRequest(
        model_uri=bundle,
        scans_uri=scans.as_uri(),
        output_uri=output.as_uri(),
        segmentation=asked,
        run_id=f"{time.time_ns()}",
    )
    return segment_bright(request)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good scans, every bad one, every bad archive, and all of the files once more in one .tar.gz."""
    folder = tmp_path_factory.mktemp("collection")
    files = good() | {path: content for _, make in FILES.values() for path, content in make().items()}
    archives = {path: content for _, make in ARCHIVES.values() for path, content in make().items()}
    for path, content in (files | archives | {"packed.tar.gz": tar(files, "w:gz")}).items():
        storage.publish(str(folder / path), content)
    return folder


def _rows(output: Path) -> dict[str, ScanRow]:
    return {row.scan_id: row for row in from_parquet(ScanRow, (output / "scans.parquet").read_bytes())}


def test_every_good_scan_is_done_and_no_bad_one_is_decoded_again(
    bright_bundle: str, collection: Path, tmp_path: Path
) -> None:
    """The first run names each bad input and is not green; the second records nothing new and is."""
    n_new_failures = _segment(bright_bundle, collection, tmp_path).n_new_failures
    first = _rows(tmp_path)
    done = {scan_id for scan_id, row in first.items() if row.status == "done"}
    failed = {scan_id for scan_id, row in first.items() if row.status == "failed"}
    no_scans = {scan_id for scan_id, row in first.items() if row.status == "not_a_scan"}
    assert "internal_error" not in {row.error_code for row in first.values()}
    assert sum(scan_id.startswith("good") for scan_id in done) == 6
    assert sum(scan_id.startswith("packed__good") for scan_id in done) == 6
    assert n_new_failures == len(failed)
    assert {first[scan_id].error_code for scan_id in no_scans} == NOT_SCAN_CODES
    assert len(failed | no_scans) >= 2 * len(FILES) + len(ARCHIVES)
    assert len(done | failed | no_scans) == len(first)
    report = (tmp_path / "report.html").read_text()
    assert all(scan_id in report for scan_id in failed if "&" not in scan_id and "<" not in scan_id)
    indexes = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()}
    handle = _segment(bright_bundle, collection, tmp_path)
    assert handle.n_new_failures == 0
    known = {"skipped": len(done), "failed": len(failed), "not_a_scan": len(no_scans)}
    assert handle.counts == {"done": 0, "deferred": 0} | known
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()} == indexes
    tables = [path.read_bytes() for path in (tmp_path / "ledger").glob("*.parquet")]
    entries = [entry for table in tables for entry in from_parquet(LedgerEntry, table)]
    assert len(entries) == len(first)


def test_files_that_are_no_scans_are_counted_not_lost(bright_bundle: str, tmp_path: Path) -> None:
    """Notes and strangers are left alone, and the manifest says how many of which kind."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    for path, content in {"a.png": good()["good/slice.png"], "notes.txt": b"x", "README": b"no DICOM"}.items():
        storage.publish(str(scans / path), content)
    handle = _segment(bright_bundle, scans, output)
    assert handle.counts["done"] == 1
    [warning] = [text for text in json.loads((output / "manifest.json").read_text())["warnings"] if "no scans" in text]
    assert warning == "2 files are no scans and were left alone: 1 .txt, 1 marker."


def test_a_young_archive_is_not_opened(bright_bundle: str, tmp_path: Path) -> None:
    """An archive that may still be uploading is one deferred scan; it is neither opened nor called damaged."""
    storage.publish(str(tmp_path / "scans" / "half.zip"), b"PK half of it")
    handle = _segment(bright_bundle, tmp_path / "scans", tmp_path / "output", SegmentationConfig())
    assert handle.counts == {"done": 0, "skipped": 0, "deferred": 1, "failed": 0, "not_a_scan": 0}
