"""The scans below a URI, and the ids they are known by."""

import hashlib
import math
import time
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, StorageError
from tasks.io import storage
from tasks.io.other_files import n_possible_scans
from tasks.io.outputs.ownership import list_inputs
from tasks.io.scans import Survey
from tasks.io.scans import survey as survey_objects
from tasks.io.stored_objects import fingerprint
from tests.bad_inputs import png, tar
from tests.io.stores import put
from tests.stages.bright import bright_run, scans_of


def survey(uri: str, youngest_s: float = math.inf) -> Survey:
    """What a collection shows, without what runs of ours wrote there."""
    objects, n_of_runs = list_inputs(uri)
    found = survey_objects(objects, youngest_s)
    found.n_of_runs = n_of_runs
    return found


def test_a_scan_is_named_by_its_path_without_suffix(root: str) -> None:
    """Folders become `__`, only the last suffix goes, and the scans are sorted by id."""
    put(root, "ward/bed 2/scan.v1.png", "a.TIFF", "z.jpeg")
    assert [scan.scan_id for scan in survey(root).scans()] == ["a", "ward__bed 2__scan.v1", "z"]


def test_a_scan_carries_where_it_lies_and_when_it_changed(root: str) -> None:
    """URI, fingerprint and time of change are those of the one object the scan is."""
    put(root, "ward/a.png")
    [scan] = survey(root).scans()
    [found] = storage.list_objects(root)
    assert storage.read_bytes(scan.uri) == b"ward/a.png"
    assert scan.fingerprint == fingerprint([found])
    assert scan.modified_s == found.modified_s == pytest.approx(time.time(), abs=60)


def test_the_fingerprint_changes_with_the_content(root: str) -> None:
    """A scan that was replaced has another fingerprint; one that was not keeps it."""
    put(root, "a.png", "b.png")
    before = {scan.scan_id: scan.fingerprint for scan in survey(root).scans()}
    storage.publish(f"{root}/a.png", b"another content")
    after = {scan.scan_id: scan.fingerprint for scan in survey(root).scans()}
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]


@pytest.mark.parametrize("paths", [("a.png", "a.jpg"), ("ward/a.png", "ward__a.png"), ("a.png", "a.PNG")])
def test_scans_that_would_share_an_id_get_a_hash_each(root: str, paths: tuple[str, str]) -> None:
    """Where two paths give one id both get eight digits of their path's sha256; others keep their plain id."""
    put(root, *paths, "other.png")
    plain = paths[0].rsplit(".", 1)[0].replace("/", "__")
    hashed = {f"{plain}-{hashlib.sha256(path.encode()).hexdigest()[:8]}" for path in paths}
    assert {scan.scan_id for scan in survey(root).scans()} == hashed | {"other"}


def test_what_is_no_image_is_no_scan(root: str) -> None:
    """Files of other types and hidden files are not scans; a folder without scans gives none."""
    put(root, "notes.txt", ".hidden.png", "report.pdf", "png")
    assert survey(root).scans() == []


def test_a_single_file_is_a_scan(root: str) -> None:
    """The URI of one image is that one scan."""
    put(root, "ward/a.png", "ward/b.png")
    assert [scan.scan_id for scan in survey(f"{root}/ward/a.png").scans()] == ["a"]


def test_a_place_that_does_not_exist_is_a_storage_error(root: str) -> None:
    """A mistyped address is not taken for an empty archive."""
    with pytest.raises(StorageError, match="Nothing exists"):
        survey(f"{root}/nowhere").scans()


def test_outputs_of_runs_below_the_scans_are_no_scans(root: str) -> None:
    """What a finished or a killed run wrote is left alone and counted; scans beside it, and within, are found."""
    put(root, "a.png", "night/masks/m.png", "killed/masks/k.png", "night/b.png", "foreign/masks/c.png")
    storage.publish(f"{root}/night/manifest.json", b'{"run_id": "1", "params_digest": "2"}')
    storage.publish(f"{root}/killed/lease/00000001.json", b'{"run_id": "1", "heartbeat_at": "2"}')
    storage.publish(f"{root}/foreign/lease/20240115.json", b"of a rented scanner")
    found = survey(root)
    assert [scan.scan_id for scan in found.scans()] == ["a", "foreign__masks__c", "night__b"]
    assert (found.n_objects, found.n_of_runs) == (4, 4)
    assert "4 files in the outputs of other runs" in " ".join(found.warnings())
    for part in ("killed", "night/masks"):
        with pytest.raises(ConfigError, match="is the output of a run or part of one"):
            survey(f"{root}/{part}")


def test_markers_and_documents_could_not_have_been_scans_but_others_could(root: str) -> None:
    """Markers, texts, tables and system files are told from what may be a chest CT in a form that is not read."""
    put(root, "notes.txt", "table.csv", "DICOMDIR", "__MACOSX/._a.png", "batch.done", "small.xyz")
    for marker in ("_SUCCESS", "LOCKFILE", "unknown.xyz"):
        storage.publish(f"{root}/{marker}", b"")
    found = survey(root)
    assert (found.scans(), found.containers, n_possible_scans(found.n_ignored)) == ([], [], 0)
    for name in ("volume.mhd", "volume.raw", "scan.7z", "series/IM1.xyz"):
        storage.publish(f"{root}/{name}", bytes(200))
    found = survey(root)
    assert {scan.path: scan.refused and scan.refused[0] for scan in found.sources} == {
        "volume": None,
        "scan": "unsupported_format",
    }
    assert [container.path for container in found.containers] == ["series"]  # to be opened: it may be DICOM
    assert n_possible_scans(found.n_ignored) == 0


def test_links_that_leave_the_folder_of_scans_are_not_followed(tmp_path: Path) -> None:
    """A file and a folder elsewhere are named as what they are; a link within the folder is a file like any other."""
    outside, scans = tmp_path / "outside", tmp_path / "scans"
    for path in (outside / "secret.png", outside / "series" / "1.dcm", scans / "a.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(300))
    (scans / "b.png").symlink_to(outside / "secret.png")
    (scans / "folder").symlink_to(outside / "series")
    (scans / "c.png").symlink_to(scans / "a.png")
    found = survey(str(scans))
    refused = {source.path: source.refused and source.refused[0] for source in found.sources}
    assert refused == {"a": None, "b": "unsafe_member", "c": None, "folder": "unsafe_member"}
    assert found.containers == []


def test_a_name_that_could_change_a_page_is_refused(tmp_path: Path) -> None:
    """Line ends, escape sequences and marks of direction are shown as what they are, and make no id."""
    for name in ("a\nb.png", "a\x1b[31m.png", "a\u202egnp.exe.png", "bad\n/1.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(300))
    found = survey(str(tmp_path))
    assert [source.refused and source.refused[0] for source in found.sources] == ["bad_name"] * 4
    assert all(source.path.isprintable() and source.uri.isprintable() for source in found.sources)


def test_names_that_look_alike_once_shown_are_two_scans(tmp_path: Path) -> None:
    """The id of a refused name is never that of a good one, on disk or in an archive."""
    names = ("a\nb.png", "a\\x0ab.png")
    folder, packed = tmp_path / "folder", tmp_path / "packed"
    folder.mkdir()
    packed.mkdir()
    for name in names:
        (folder / name).write_bytes(png())
    (packed / "b.tar").write_bytes(tar({name: png() for name in names}))
    for place in (folder, packed):
        scans = scans_of(bright_run(place.as_uri(), (tmp_path / "output").as_uri()))
        assert len({scan.scan_id for scan in scans}) == 2
        assert sorted(scan.refused[0] if scan.refused else "" for scan in scans) == ["", "bad_name"]
