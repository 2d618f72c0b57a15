"""Every way to disappoint, mixed with good scans: each is rejected under its own code, and nothing else is."""

import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from tasks.core.errors import ErrorCode
from tasks.core.rows import ScanRow
from tasks.io import ledger, storage
from tasks.io.formats import FORMATS, without_suffix
from tasks.stages.segmentation_run import Run
from tests.bad_inputs import ARCHIVES, FILES, Files, good, pack, series
from tests.emulators import BUCKET, FORBIDDEN
from tests.stages.bright import bright_run, scans_of, segment


def _id(files: Files, below: str = "") -> str:
    """Return what the id of a kind's scan begins with: its path, or of a series its folder."""
    name = next(iter(files))
    path = name.rpartition("/")[0] if name.endswith(".dcm") and "picture" not in name else without_suffix(name)
    return f"{below}{path}".replace("/", "__")


def _code(rows: Iterable[ScanRow], scan_id: str) -> ErrorCode | None:
    """Return the one code of the rows whose id begins so."""
    found = [row for row in rows if row.scan_id == scan_id or row.scan_id.startswith((f"{scan_id}__", f"{scan_id}-"))]
    codes = {row.error_code for row in found}
    assert len(codes) == 1, (scan_id, codes)
    return codes.pop()


@pytest.mark.parametrize("packing", ["plain", "zip", "tar", "tgz"])
def test_every_bad_input_has_its_code_and_every_good_one_a_mask(run: Run, tmp_path: Path, packing: str) -> None:
    """Whether they lie in folders or in an archive: the good are done, the bad are named, none is missing."""
    kinds = {name: make() for name, (_, make) in FILES.items()}
    files = good() | {path: content for made in kinds.values() for path, content in made.items()}
    scans = tmp_path / "scans"
    if packing == "plain":
        for path, content in files.items():
            storage.publish(str(scans / path), content)
    else:
        pack(packing, files, scans / f"all.{packing}")
    below = "" if packing == "plain" else "all/"
    rows = list(segment(run, scans_of(run)))
    assert {name: _code(rows, _id(made, below)) for name, made in kinds.items()} == {
        name: code for name, (code, _) in FILES.items()
    }
    done = [row.scan_id for row in rows if row.status == "done"]
    assert len(done) == 6
    assert all(f"{below}good".replace("/", "__") in scan_id for scan_id in done)
    assert len(rows) == len(done) + len(kinds)
    for row in rows:
        assert row.status == "done" or (row.error and row.error.endswith("."))


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_bad_archive_is_named_and_stops_nothing(run: Run, tmp_path: Path, kind: str) -> None:
    """An archive that is damaged or hostile is one failed scan; what lies beside it is done."""
    code, make = ARCHIVES[kind]
    for path, content in (make() | {"good.png": good()["good/slice.png"]}).items():
        (tmp_path / "scans" / path).write_bytes(content)
    rows = list(segment(run, scans_of(run)))
    failed = [row for row in rows if row.status == "failed"]
    assert {row.error_code for row in failed} == {code}
    assert "good" in {row.scan_id for row in rows if row.status == "done"}


@pytest.mark.usefixtures("object_stores")
def test_what_the_store_withholds_is_named_and_tried_again(tmp_path: Path) -> None:
    """No permission, gone, grown since it was listed: each its code, none is refused for good, the rest is done."""
    root, image = f"gs://{BUCKET}/{uuid.uuid4().hex}", good()["good/slice.png"]
    for name in (f"{FORBIDDEN}/slice.png", "gone.png", "grown.png", "good.png"):
        storage.publish(f"{root}/scans/{name}", image)
    storage.publish(f"{root}/scans/{FORBIDDEN}/series.dcm", next(iter(series("", 3).values())))
    pack("zip", {"member.png": image}, tmp_path / "packed.zip")
    for name in ("packed.zip", f"{FORBIDDEN}/unread.zip"):
        storage.publish(f"{root}/scans/{name}", (tmp_path / "packed.zip").read_bytes())
    run = bright_run(f"{root}/scans", f"{root}/output")
    scans = scans_of(run)
    for name in ("gone.png", "packed.zip"):
        storage.remove(f"{root}/scans/{name}")
    storage.publish(f"{root}/scans/grown.png", image + b"more")
    assert {row.scan_id: row.error_code for row in segment(run, scans)} == {
        f"{FORBIDDEN}__slice": "no_permission",
        f"{FORBIDDEN}__series": "no_permission",
        f"{FORBIDDEN}__unread": "no_permission",
        "gone": "vanished",
        "grown": "changed",
        "good": None,
        "packed__member": "vanished",
    }
    assert not ledger.Ledger.open(f"{root}/output").known_bad()
    storage.remove_tree(root)


@pytest.mark.parametrize("raised", [KeyError("Mueller^Hans"), RecursionError(), MemoryError(), AssertionError()])
def test_a_bug_over_one_scan_is_a_row_and_stops_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    """Whatever a reader raises over one scan, that scan is a row without the error's text, and the others are done."""
    files = {"bad.nii.gz": b"any", "a.png": good()["good/slice.png"], "b.mha": good()["good/volume.mha"]}
    for path, content in files.items():
        storage.publish(str(tmp_path / "scans" / path), content)

    def stumble(_: bytes) -> NoReturn:
        raise raised

    monkeypatch.setitem(FORMATS, "nifti", replace(FORMATS["nifti"], read_volume=stumble))
    rows = {row.scan_id: row for row in segment(run, scans_of(run))}
    bad = rows.pop("bad")
    assert {scan_id: row.status for scan_id, row in rows.items()} == {"a": "done", "b": "done"}
    assert bad.error_code == ("out_of_memory" if isinstance(raised, MemoryError) else "internal_error")
    assert "Mueller" not in f"{bad.error}{bad.where}"


@pytest.mark.parametrize(
    ("name", "inside"),
    [("good/volume.nii.gz", "nifti._unpacked"), ("good/slice.png", "raster._pixels"), ("", "dicom.pixel_array")],
)
def test_lack_of_memory_inside_a_reader_is_not_taken_for_damage(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, inside: str
) -> None:
    """A worker that is short of memory says nothing of a file: the next run tries it again."""
    files = {Path(name).name: good()[name]} if name else series("series", 3)
    for path, content in files.items():
        storage.publish(str(tmp_path / "scans" / path), content)

    def lack(*_: object, **__: object) -> NoReturn:
        raise MemoryError

    scans = scans_of(run)
    monkeypatch.setattr(f"tasks.io.formats.{inside}", lack)
    assert [row.error_code for row in segment(run, scans)] == ["out_of_memory"]
