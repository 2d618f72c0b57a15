"""Every object below the scans ends in a row or in a count, and so does every member of an archive."""

import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.engine.steps.listing import list_scans
from tasks.io.file_names import shown
from tasks.io.file_roles import UNREAD
from tasks.io.formats import KINDS
from tasks.io.packings import PACKINGS
from tasks.io.scan_index import ContainerIndex
from tasks.io.scan_sources import Container
from tasks.io.sealed_file import SealedFile
from tests.bad_inputs import pack, png
from tests.stages.bright import bright_run, open_and_keep, segment

SUFFIXES = [*KINDS, *UNREAD, *PACKINGS, ".txt", ".xml", ".exe", ".done", ".foo", ".1", "", ".raw", ".zraw", ".img"]
NAMES = ["a", "b", "DICOMDIR", ".hidden", "Thumbs.db", "_SUCCESS", "Icon\r", "x.y", "Ünïcode", "with space", "IM1"]
FOLDERS = ["", "a/", "a/b/", "__MACOSX/", ".git/", "deep/er/still/", "a/DICOM/"]


def _files(rng: random.Random, n: int, suffixes: Sequence[str]) -> dict[str, bytes]:
    """Return files of any name and content, also none."""
    found: dict[str, bytes] = {}
    for _ in range(n):
        path = rng.choice(FOLDERS) + rng.choice(NAMES) + rng.choice(suffixes)
        content = rng.choice([b"", b"x" * 50, b"text of a letter " * 20, rng.randbytes(300), png()])
        if not any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in found):
            found[path] = content
    return found


@pytest.mark.parametrize("seed", range(12))
def test_every_object_and_member_is_a_row_or_counted(seed: int, tmp_path: Path) -> None:
    """Of random trees: what was listed is what is named, with every suffix, archives, markers and system files."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    scans = tmp_path / "scans"
    for path, content in _files(rng, 40, SUFFIXES).items():
        (scans / path).parent.mkdir(parents=True, exist_ok=True)
        (scans / path).write_bytes(content)
    members: dict[str, int] = {}
    for number, packing in enumerate(("zip", "tar", "tgz")):
        packed = _files(rng, 15, SUFFIXES)
        members[f"night{number}.zip"] = len(packed)
        pack(packing, packed, scans / f"night{number}.zip")
    run = bright_run(scans.as_uri(), (tmp_path / "output").as_uri(), pictures_beside_dicom=rng.random() < 0.5)
    indexes: dict[str, ContainerIndex] = {}

    def opened(containers: Sequence[Container], kept: Sequence[SealedFile]) -> list[ContainerIndex]:
        found = open_and_keep(containers, kept)
        indexes.update(zip((container.path for container in containers), found, strict=True))
        return found

    found = list_scans(run.request, opened, math.inf, None)
    rows = list(segment(run, found.scans()))
    assert len({row.scan_id for row in rows}) == len(rows)
    files = [file for index in indexes.values() for entry in index.entries for file in entry.files]
    archives = [index for index in indexes.values() if index.archive]
    named = {source.uri for source in found.sources} | {source.data.uri for source in found.sources if source.data}
    named |= {file.uri for file in files} | {index.archive.uri for index in archives if index.archive}
    listed = {f"file://{shown(str(path))}" for path in scans.rglob("*") if path.is_file() and not _is_hidden(path)}
    n_in_archives = sum(sum(index.n_ignored.values()) for index in archives)
    n_twice = sum(  # of a folder of which nothing is read, the row names the files that the counts count
        sum(index.n_ignored.values())
        for index in indexes.values()
        if not index.archive and index.entries and index.entries[0].error_code == "no_scan"
    )
    if not run.request.segmentation.pictures_beside_dicom:
        n_in_archives += sum(entry.is_beside_dicom for index in archives for entry in index.entries)
    assert len(listed) == found.n_objects
    assert len(listed - set(map(shown, named))) == found.n_ignored.total() - n_in_archives - n_twice
    for name, n_members in members.items():
        index = indexes[name.removesuffix(".zip")]
        n_named = len({file.member for entry in index.entries for file in entry.files if file.member})
        assert n_named + sum(index.n_ignored.values()) == n_members


def _is_hidden(path: Path) -> bool:
    """Return whether the listing of the store leaves a file out: hidden, or in a hidden folder."""
    return any(part.startswith(".") for part in path.parts)
