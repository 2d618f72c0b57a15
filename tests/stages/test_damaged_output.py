"""Files of an output that are damaged: named in one sentence, or made again; never taken for what they were."""

import hashlib
import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, LesionWorkflowError, LockedError
from tasks.core.rows import ScanRow
from tasks.core.schemas import SegmentationManifest
from tasks.engine.steps.listing import list_scans
from tasks.engine.steps.up_to_date import sort_scans
from tasks.io import ledger, output_lock, storage
from tasks.io.outputs import segmentations
from tasks.stages.segmentation_run import Run
from tests.bad_inputs import png
from tests.core.samples import SAMPLES
from tests.stages.bright import bright_run, open_and_keep, segment
from tests.stages.series import ct_slices
from tests.volumes import put_series

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "emptied": lambda _: b"",
    "flipped": lambda content: content[:40] + bytes([content[40] ^ 0x41]) + content[41:],
    "another's": lambda _: b"\0\x05\x16\x07 from a file manager",
}


def _night(run: Run) -> dict[str, ScanRow]:
    """Return the table of another run, which holds the lock and reads what the runs before left."""
    run = replace(run, request=run.request.model_copy(update={"run_id": f"{time.time_ns()}"}))
    output = run.request.output_uri
    with output_lock.held(output, run.request.run_id):
        segmentations.find_manifest(output)
        segmentations.n_rows(output)
        found = list_scans(run.request, open_and_keep, math.inf, None)
        scans = sort_scans(found.scans(), run, math.inf)
        rows = [*scans.known, *map(run.record, segment(run, scans.due))]
        ledger.compact(output)
        segmentations.publish(output, SAMPLES[SegmentationManifest], rows, page="page")  # type: ignore[arg-type]
    return {row.scan_id: row for row in rows}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has ended once over a picture and a series, and left a lock."""
    storage.publish(str(tmp_path / "scans" / "slice.png"), png())
    put_series(str(tmp_path / "scans" / "series"), ct_slices())
    run = bright_run((tmp_path / "scans").as_uri(), (tmp_path / "output").as_uri())
    assert {row.status for row in _night(run).values()} == {"done"}
    assert {row.status for row in _night(run).values()} == {"skipped"}
    holder = output_lock.Holder.this_process("other").model_copy(update={"pid": 1, "pid_started": 0.0})
    storage.publish(str(tmp_path / "output" / "lease" / "00000001.json"), holder.model_dump_json().encode())
    return run


def _next_night(run: Run) -> dict[str, ScanRow] | LesionWorkflowError:
    """Return the table of a further run, or the error that it ends with."""
    try:
        return _night(run)
    except LesionWorkflowError as err:
        return err


@pytest.mark.parametrize("damage", [*DAMAGE, "removed"])
@pytest.mark.parametrize(
    "kind", ["manifest.json", "scans.parquet", "ledger/", "lease/", "index/", "masks/", "previews/"]
)
def test_a_damaged_file_is_named_or_made_again(run: Run, tmp_path: Path, kind: str, damage: str) -> None:
    """Where a run goes on, the masks it leaves are those it would have made."""
    output = tmp_path / "output"
    masks = {path.name: path.read_bytes() for path in (output / "masks").iterdir()}
    names = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
    name = next(name for name in names if name.startswith(kind))
    if damage == "removed":
        (output / name).unlink()
    else:
        (output / name).write_bytes(DAMAGE[damage]((output / name).read_bytes()))
    ended = _next_night(run)
    if isinstance(ended, LesionWorkflowError):
        assert isinstance(ended, ConfigError | LockedError)
        assert kind not in ("index/", "masks/", "previews/")
        assert name in str(ended)
        assert re.search(r"(?i)(remove|restore) it", str(ended))
    else:
        assert {row.status for row in ended.values()} <= {"done", "skipped"}
        assert len(list((output / "previews").iterdir())) == 2
    assert {path.name: path.read_bytes() for path in (output / "masks").iterdir()} == masks


def test_an_output_that_was_copied_is_complete_or_made_complete(run: Run, tmp_path: Path) -> None:
    """A mask that the copy lacks is made again there; the rows name the copy's own masks."""
    storage.remove(str(tmp_path / "output" / "lease" / "00000001.json"))
    copy = tmp_path / "copy"
    (tmp_path / "output").rename(copy)
    there = bright_run(run.request.scans_uri, copy.as_uri())
    (copy / "masks" / "slice.png").unlink()
    rows = _night(there)
    assert {scan_id: row.status for scan_id, row in rows.items()} == {"slice": "done", "series": "skipped"}
    for row in rows.values():
        assert row.mask_uri is not None
        assert row.mask_uri.startswith(f"{copy.as_uri()}/masks/")
        assert hashlib.sha256(storage.read_bytes(row.mask_uri)).hexdigest() == row.mask_sha256


def test_what_file_managers_leave_in_an_output_is_left_alone(run: Run, tmp_path: Path) -> None:
    """In every folder of it."""
    for folder in ("ledger", "lease", "index", "masks", "previews"):
        for name in ("Thumbs.db", "desktop.ini"):
            (tmp_path / "output" / folder / name).write_bytes(b"x")
    assert {row.status for row in _night(run).values()} == {"skipped"}
