"""Slices of a file each become one scan where a rule was declared, and only there."""

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tasks.core.errors import ErrorCode
from tasks.io import storage
from tasks.stages import load_scans
from tests.bad_inputs import tar
from tests.stages.bright import bright_run, scans_of, segment

A_FOLDER_A_SCAN = r"(?P<scan>.+)/.*?(?P<slice>\d+)"


def _slice(number: int, shape: tuple[int, int] = (40, 48)) -> bytes:
    """Return a dark slice with a bright square whose place and size tell its number."""
    pixels = np.full(shape, 60, np.uint8)
    pixels[4 : 12 + number, 6:14] = 220
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _put(folder: Path, files: dict[str, bytes], *, packed: bool) -> None:
    for path, content in ({"all.tar": tar(files)} if packed else files).items():
        storage.publish(str(folder / path), content)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("piece", [128, 3])
def test_a_folder_of_slices_is_one_scan_in_the_order_of_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool, piece: int
) -> None:
    """One mask, one row, slices by number and not by name; loose or packed, whole or in pieces; others stay scans."""
    monkeypatch.setattr(load_scans, "PIECE_SLICES", piece)
    files = {f"study/a/s{number}.png": _slice(number) for number in (2, 10, 1, 9, 3, 4, 5, 6, 7, 8)}
    _put(tmp_path / "scans", files | {"single.png": _slice(0)}, packed=packed)
    run = bright_run(str(tmp_path / "scans"), str(tmp_path / "output"), stack_pattern=A_FOLDER_A_SCAN)
    below = "all__" if packed else ""
    rows = {row.scan_id: row for row in segment(run, scans_of(run))}
    assert set(rows) == {f"{below}study__a", f"{below}single"}
    row = rows[f"{below}study__a"]
    assert (row.status, row.n_slices, row.n_lesions, row.lesion_ml) == ("done", 10, 1, None)
    mask = nib.load(tmp_path / "output" / "masks" / f"{row.scan_id}.nii.gz")
    heights = np.asarray(mask.dataobj).max(axis=0).sum(axis=0)
    assert mask.shape == (48, 40, 10)
    assert np.abs(np.diff(heights.astype(int)) - 1).max() <= 1
    assert heights[-1] - heights[0] == pytest.approx(9, abs=1)
    assert any("no position in space" in warning for warning in row.warnings)
    assert rows[f"{below}single"].mask_uri.endswith(".png")


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"a/1.png": _slice(1), "a/x1.png": _slice(2)}, "duplicate_slice"),
        ({"a/1.png": _slice(1), "a/2.png": _slice(2, (44, 48))}, "mixed_geometry"),
        ({"a/1.png": _slice(1), "a/2.png": _slice(2)[:70]}, "unreadable"),
        ({"a/1.png": _slice(1), "a/2.png": b""}, "empty_file"),
    ],
)
def test_one_bad_slice_sets_the_whole_scan_aside(tmp_path: Path, files: dict[str, bytes], code: ErrorCode) -> None:
    """A scan with a slice missing would be a wrong mask: it is named once, with the code of what is bad."""
    _put(tmp_path / "scans", files, packed=False)
    run = bright_run(str(tmp_path / "scans"), str(tmp_path / "output"), stack_pattern=A_FOLDER_A_SCAN)
    [row] = segment(run, scans_of(run))
    assert (row.scan_id, row.status, row.error_code) == ("a", "failed", code)


def test_numbers_that_are_missing_are_said(tmp_path: Path) -> None:
    """A gap in the numbers may be meant; the row says so."""
    _put(tmp_path / "scans", {"a/1.png": _slice(1), "a/4.png": _slice(2)}, packed=False)
    run = bright_run(str(tmp_path / "scans"), str(tmp_path / "output"), stack_pattern=A_FOLDER_A_SCAN)
    [row] = segment(run, scans_of(run))
    assert "2 numbers between the first slice and the last have no slice." in row.warnings


def test_without_a_rule_each_slice_is_a_scan(tmp_path: Path) -> None:
    """Nothing is joined that nobody asked to join."""
    _put(tmp_path / "scans", {"a/1.png": _slice(1), "a/2.png": _slice(2)}, packed=False)
    run = bright_run(str(tmp_path / "scans"), str(tmp_path / "output"))
    assert [row.scan_id for row in segment(run, scans_of(run))] == ["a__1", "a__2"]


@pytest.mark.parametrize(
    ("last", "code"), [(_slice(9, (44, 48)), "mixed_geometry"), (_slice(9)[:70], "unreadable"), (b"", "empty_file")]
)
def test_a_bad_slice_in_a_later_piece_sets_the_whole_scan_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bytes, code: ErrorCode
) -> None:
    """Alone in the last of four pieces, it is held against slices that were read in the others."""
    monkeypatch.setattr(load_scans, "PIECE_SLICES", 3)
    _put(tmp_path / "scans", {f"a/{n}.png": _slice(n) for n in range(1, 10)} | {"a/10.png": last}, packed=False)
    run = bright_run(str(tmp_path / "scans"), str(tmp_path / "output"), stack_pattern=A_FOLDER_A_SCAN)
    [row] = segment(run, scans_of(run))
    assert (row.status, row.error_code) == ("failed", code)


def test_slices_that_are_all_the_same_grey_are_no_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constant over all of its pieces it holds nothing; one constant slice of many is air, and fine."""
    monkeypatch.setattr(load_scans, "PIECE_SLICES", 3)
    grey = io.BytesIO()
    Image.fromarray(np.full((40, 48), 60, np.uint8)).save(grey, "PNG")
    files = {f"flat/{n}.png": grey.getvalue() for n in range(5)}
    files |= {f"good/{n}.png": grey.getvalue() if n == 4 else _slice(n) for n in range(5)}
    _put(tmp_path / "scans", files, packed=False)
    run = bright_run(str(tmp_path / "scans"), str(tmp_path / "output"), stack_pattern=A_FOLDER_A_SCAN)
    assert {row.scan_id: row.error_code for row in segment(run, scans_of(run))} == {"flat": "constant", "good": None}


def test_bad_archives_and_endless_numbers_are_no_slices(tmp_path: Path) -> None:
    """Two damaged archives are two failed scans, whatever their names; a number of 5,000 digits is a name."""
    packed = tar({f"x/{'1' * 90}.png": _slice(1)})
    files = {"hospital/case1.zip": b"PK no", "hospital/case2.zip": b"PK no", "long/1.tar": packed}
    _put(tmp_path / "scans", files, packed=False)
    run = bright_run(str(tmp_path / "scans"), str(tmp_path / "output"), stack_pattern=A_FOLDER_A_SCAN)
    codes = [row.error_code for row in segment(run, scans_of(run))]
    assert codes.count("corrupt_archive") == 2
    assert codes.count(None) == 1
