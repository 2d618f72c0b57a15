"""Archives under any name: read by what they are, or refused as what they are."""

import itertools
import struct
from pathlib import Path

import pytest

from tasks.core.errors import ErrorCode
from tasks.stages.segmentation_run import Run
from tests.bad_inputs import pack, png
from tests.stages.bright import scans_of, segment

SUFFIXES = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]


@pytest.mark.parametrize(("suffix", "packing"), list(itertools.product(SUFFIXES, ["zip", "tar", "tgz", "tbz", "txz"])))
def test_an_archive_is_read_by_its_content(run: Run, tmp_path: Path, suffix: str, packing: str) -> None:
    """Whatever its suffix says, as a download or an upload script renamed it."""
    pack(packing, {"a/b.png": png()}, tmp_path / "scans" / f"night{suffix}")
    [row] = segment(run, scans_of(run))
    assert (row.scan_id, row.status) == ("night__a__b", "done")


@pytest.mark.parametrize("prefix", ["./", "././", "/", ".//", "a/./", "a//", ".\\", "a\\.\\"])
@pytest.mark.parametrize("packing", ["zip", "tar", "tgz", "tbz", "txz"])
def test_a_member_is_found_however_its_path_is_spelled(run: Run, tmp_path: Path, packing: str, prefix: str) -> None:
    """Dots, doubled and backward slashes are the same place; a path from the root is refused and named."""
    pack(packing, {f"{prefix}b.png": png()}, tmp_path / "scans" / "night.zip")
    [row] = segment(run, scans_of(run))
    if prefix == "/":
        assert row.error_code == "unsafe_member"
    else:
        assert (row.scan_id, row.status) == (f"night__{'a__' if 'a' in prefix else ''}b", "done")


def _deflate64(content: bytes) -> bytes:
    """Return a zip whose only member claims method 9."""
    directory = content.rindex(b"PK\x01\x02")
    changed = bytearray(content)
    for at in (8, directory + 10):  # APPNOTE 4.3.7 and 4.3.12: compression method
        changed[at : at + 2] = struct.pack("<H", 9)
    return bytes(changed)


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "unsupported_format", "It is a 7z archive. Send it as one of zip,"),
        (b"Rar!\x1a\x07\x01\0" + bytes(600), "unsupported_format", "It is a rar archive."),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "unsupported_format", "It is a zstd archive."),
        ("deflate64", "unsupported_format", "The member is packed by Deflate64, which is not read."),
        (b"", "empty_file", "File has 0 bytes"),
    ],
)
def test_an_archive_that_is_not_read_is_named(
    run: Run, tmp_path: Path, content: bytes | str, code: ErrorCode, said: str
) -> None:
    """By its kind, and not as damaged: uploading it again would not help."""
    path = tmp_path / "scans" / "night.zip"
    if isinstance(content, str):
        pack("zip", {"b.png": png()}, path)
        content = _deflate64(path.read_bytes())
    path.write_bytes(content)
    [row] = segment(run, scans_of(run))
    assert (row.status, row.error_code) == ("failed", code)
    assert (row.error or "").startswith(said)


def test_system_files_of_other_machines_are_no_failures(run: Run, tmp_path: Path) -> None:
    """What macOS and Windows put into an archive is counted and left alone."""
    others = ["__MACOSX/a/._b.png", "a/.DS_Store", "a/Thumbs.db", "a/Icon\r", "cd/DICOMDIR", "a/desktop.ini"]
    pack("zip", {"a/b.png": png(), **dict.fromkeys(others, b"x" * 200)}, tmp_path / "scans" / "night.zip")
    [row] = segment(run, scans_of(run))
    assert (row.scan_id, row.status) == ("night__a__b", "done")
