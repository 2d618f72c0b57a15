"""The ledger: entries are only added, and what they say decides what is worked on again."""

import json

import pytest

from tasks.core.errors import PASSING_CODES
from tasks.core.reader_version import READER_VERSION
from tasks.core.rows import LedgerEntry, ScanRow
from tasks.io import ledger, storage
from tasks.io.ledger import Ledger, is_mask_intact, work_key
from tasks.io.tables import to_parquet

DONE = ScanRow(
    scan_id="a__b",
    source_uri="gs://bucket/a/b.png",
    source_fingerprint="f1",
    status="done",
    seconds=1.0,
    model_digest="m1",
    params_digest="p1",
    mask_version="1",
    code_version="0.1.0+abc",
)
FAILED = DONE.model_copy(update={"status": "failed", "error_code": "unreadable", "error": "Image is damaged."})


def _entry(row: ScanRow, *, reader_version: str = READER_VERSION) -> LedgerEntry:
    return LedgerEntry(**row.model_dump(), reader_version=reader_version)


def test_a_new_output_has_an_empty_ledger(root: str) -> None:
    """Where nothing was segmented yet, nothing is finished and nothing is known bad."""
    opened = Ledger.open(root)
    assert list(opened.entries) == []
    assert opened.finished() == opened.known_bad() == {}


def test_entries_make_the_round_trip(root: str) -> None:
    """What became of a scan is read back whole, with the version of the readers that took or refused it."""
    ledger.record(root, DONE, "run-1")
    ledger.record(root, FAILED.model_copy(update={"scan_id": "c"}), "run-1")
    opened = Ledger.open(root)
    assert list(opened.entries) == [_entry(DONE), _entry(FAILED.model_copy(update={"scan_id": "c"}))]


def test_entries_are_never_overwritten(root: str) -> None:
    """A second entry of the same scan and run leaves the first as it was; another run adds its own."""
    ledger.record(root, DONE, "run-1")
    before = [storage.read_bytes(o.uri) for o in storage.list_objects(root)]
    ledger.record(root, DONE.model_copy(update={"seconds": 9.0}), "run-1")
    assert [storage.read_bytes(o.uri) for o in storage.list_objects(root)] == before
    ledger.record(root, DONE.model_copy(update={"seconds": 9.0}), "run-2")
    assert [entry.seconds for entry in Ledger.open(root).entries] == [1.0, 9.0]


def test_the_newest_run_wins(root: str) -> None:
    """Of several entries of the same work the one of the last run counts, in whatever order they were written."""
    for run_id, seconds in (("20240506T120000Z-b", 2.0), ("20240507T080000Z-a", 3.0), ("20240505T235959Z-c", 1.0)):
        ledger.record(root, DONE.model_copy(update={"seconds": seconds}), run_id)
        ledger.record(root, FAILED.model_copy(update={"scan_id": "bad", "error": f"{seconds}"}), run_id)
    opened = Ledger.open(root)
    assert opened.finished() == {work_key(DONE): _entry(DONE.model_copy(update={"seconds": 3.0}))}
    assert [entry.error for entry in opened.known_bad().values()] == ["3.0"]


@pytest.mark.parametrize("changed", ["scan_id", "source_fingerprint", "model_digest", "params_digest", "mask_version"])
def test_other_work_is_not_finished(changed: str) -> None:
    """Another scan, content, model, parameter or mask version is other work; time, address and edited code are not."""
    finished = Ledger([_entry(DONE)]).finished()
    assert work_key(DONE.model_copy(update={changed: "another"})) not in finished
    same = {"seconds": 7.0, "source_uri": "s3://mirror/a/b.png", "code_version": "0.1.0+edited"}
    assert work_key(DONE.model_copy(update=same)) in finished


@pytest.mark.parametrize("status", ["failed", "deferred", "skipped"])
def test_only_what_is_done_is_finished(status: str) -> None:
    """A scan that was rejected or put off is not finished."""
    assert Ledger([_entry(DONE.model_copy(update={"status": status}))]).finished() == {}


def test_a_refused_scan_is_known_bad_for_this_content_and_any_model() -> None:
    """What these readers refused stays refused under another model, but not with another content."""
    known_bad = Ledger([_entry(FAILED)]).known_bad()
    assert known_bad == {("a__b", "f1"): _entry(FAILED)}
    assert known_bad.get(("a__b", "f2")) is None


def test_another_version_of_the_readers_tries_again() -> None:
    """What an earlier version of the readers refused is not known bad to this one."""
    entries = [_entry(FAILED, reader_version=f"{READER_VERSION}-before")]
    assert Ledger(entries).known_bad() == {}


@pytest.mark.parametrize("is_compacted", [False, True])
def test_an_entry_of_another_version_is_read_and_tried_again(root: str, *, is_compacted: bool) -> None:
    """A code that this version does not know costs no run its output; the sentence stays."""
    unknown = {"error_code": "code_of_old", "reader_version": "0"}
    entry = LedgerEntry.model_construct(**_entry(FAILED).model_dump() | unknown)
    if is_compacted:
        storage.publish(f"{root}/ledger/run-1.parquet", to_parquet(LedgerEntry, [entry]))
    else:
        storage.publish(f"{root}/ledger/run-1/a__b.json", json.dumps(entry.model_dump()).encode())
    opened = Ledger.open(root)
    assert [(found.error_code, found.error) for found in opened.entries] == [("other_version", FAILED.error)]
    assert opened.known_bad() == {}


def test_a_finished_scan_is_not_known_bad() -> None:
    """Only failures are known bad."""
    assert Ledger([_entry(DONE)]).known_bad() == {}


def test_a_mask_is_intact_while_its_bytes_are_those_recorded(root: str) -> None:
    """The mask must be there with the recorded digest: missing, changed or never written, it is not intact."""
    uri = f"{root}/masks/a__b.png"
    digest = storage.publish(uri, b"mask")
    entry = _entry(DONE.model_copy(update={"mask_uri": uri, "mask_sha256": digest}))
    assert is_mask_intact(root, entry)
    storage.publish(uri, b"mAsk")
    assert not is_mask_intact(root, entry)
    storage.remove_tree(f"{root}/masks")
    assert not is_mask_intact(root, entry)


def test_a_scan_without_mask_has_no_intact_one(root: str) -> None:
    """An entry that names no mask, or a mask without a digest, vouches for nothing."""
    assert not is_mask_intact(root, _entry(DONE))
    storage.publish(f"{root}/masks/a.png", b"mask")
    assert not is_mask_intact(root, _entry(DONE.model_copy(update={"mask_uri": f"{root}/masks/a.png"})))


def test_the_mask_of_a_copied_output_is_looked_for_in_the_copy(root: str) -> None:
    """Where the copy lacks it, the scan is not finished there, though the first output has it still."""
    digest = storage.publish(f"{root}/first/masks/a__b.png", b"mask")
    entry = _entry(DONE.model_copy(update={"mask_uri": f"{root}/first/masks/a__b.png", "mask_sha256": digest}))
    assert not is_mask_intact(f"{root}/copy", entry)
    storage.publish(f"{root}/copy/masks/a__b.png", b"mask")
    assert is_mask_intact(f"{root}/copy", entry)


@pytest.mark.parametrize("names", [["scan[1]"], ["scan[1]", "other"]])
def test_a_scan_may_have_brackets_in_its_name(root: str, names: list[str]) -> None:
    """An output that holds a scan named like a browser's second download is opened like any other."""
    for name in names:
        ledger.record(root, DONE.model_copy(update={"scan_id": name}), "run-1")
    assert {entry.scan_id for entry in Ledger.open(root).entries} == set(names)


def test_compacting_changes_nothing_that_is_read(root: str) -> None:
    """Entries of every run become one table a run; opening gives the same entries, and new ones still come after."""
    for number in range(3):
        ledger.record(root, DONE.model_copy(update={"scan_id": f"s{number}", "seconds": 1.0}), "run-1")
    ledger.record(root, DONE.model_copy(update={"scan_id": "s0", "seconds": 2.0}), "run-2")
    before = Ledger.open(root)
    ledger.compact(root)
    assert [o.path for o in storage.list_objects(f"{root}/ledger")] == ["run-1.parquet", "run-2.parquet"]
    assert not storage.exists(f"{root}/ledger/run-1"), "an empty folder was left"
    assert Ledger.open(root).entries == before.entries
    assert (len(before.unreported), len(Ledger.open(root).unreported)) == (3, 0)
    ledger.record(root, DONE.model_copy(update={"scan_id": "s0", "seconds": 3.0}), "run-3")
    assert Ledger.open(root).finished()[work_key(DONE.model_copy(update={"scan_id": "s0"}))].seconds == 3.0


def test_a_compaction_that_was_cut_short_is_ended_by_the_next(root: str) -> None:
    """Entries that a killed compaction left beside their table count once and go with the next one."""
    ledger.record(root, DONE, "run-1")
    [entry] = storage.list_objects(f"{root}/ledger")
    content = storage.read_bytes(entry.uri)
    ledger.compact(root)
    storage.publish(entry.uri, content)
    assert Ledger.open(root).finished() == {work_key(DONE): _entry(DONE)}
    ledger.compact(root)
    assert [o.path for o in storage.list_objects(f"{root}/ledger")] == ["run-1.parquet"]
    assert list(Ledger.open(root).entries) == [_entry(DONE)]


def test_compacting_nothing_is_fine(root: str) -> None:
    """An output without a ledger stays without."""
    ledger.compact(root)
    assert not storage.exists(f"{root}/ledger")


@pytest.mark.parametrize("code", sorted(PASSING_CODES))
def test_what_may_pass_is_not_known_bad(code: str) -> None:
    """A scan that could not be read, or that killed its worker, is tried again by the next run."""
    assert Ledger([_entry(FAILED.model_copy(update={"error_code": code}))]).known_bad() == {}


def test_a_run_finds_what_it_recorded(root: str) -> None:
    """A run's own entries are found by scan, those of other runs are not."""
    ledger.record(root, DONE, "run-1")
    ledger.record(root, DONE.model_copy(update={"scan_id": "other"}), "run-0")
    assert ledger.recorded(root, "run-1", ["a__b", "other"]) == {"a__b": DONE}


def test_what_a_run_recorded_in_an_earlier_try_is_not_reported_yet(root: str) -> None:
    """A run that is tried again after its table was written still has its own entries to report."""
    ledger.record(root, FAILED, "run-1")
    ledger.compact(root)
    assert Ledger.open(root, "run-1").unreported == {("a__b", "f1")}
    assert Ledger.open(root, "run-2").unreported == frozenset()


def test_what_was_done_later_is_not_known_bad() -> None:
    """A refusal ends with the first success on the same content."""
    assert Ledger([_entry(FAILED), _entry(DONE)]).known_bad() == {}
    assert Ledger([_entry(DONE), _entry(FAILED)]).known_bad() == {("a__b", "f1"): _entry(FAILED)}


def test_a_fault_that_passed_gives_way_to_the_success_of_the_next_try(root: str) -> None:
    """An entry of a scan out of reach is replaced by what the same run found later, any other entry stays."""
    out_of_reach = FAILED.model_copy(update={"error_code": "not_read"})
    ledger.record(root, out_of_reach, "run-1")
    assert ledger.recorded(root, "run-1", ["a__b"]) == {}
    ledger.record(root, DONE, "run-1")
    ledger.record(root, out_of_reach, "run-1")
    assert list(Ledger.open(root).entries) == [_entry(DONE)]


@pytest.mark.parametrize("code", sorted(PASSING_CODES))
def test_what_says_nothing_of_the_content_is_tried_again_and_what_is_done_wins(root: str, code: str) -> None:
    """A bug, a lack of memory or a store's fault is never known bad, and a later try of the same run replaces it."""
    passing = FAILED.model_copy(update={"error_code": code})
    ledger.record(root, passing, "run-1")
    assert ledger.recorded(root, "run-1", [passing.scan_id]) == {}
    assert Ledger.open(root).known_bad() == {}
    ledger.record(root, DONE, "run-1")
    ledger.compact(root)
    opened = Ledger.open(root)
    assert (list(opened.finished()), opened.known_bad()) == ([work_key(DONE)], {})


def test_a_traceback_is_in_no_file(root: str) -> None:
    """Where a bug arose is for the log of the run that met it."""
    ledger.record(root, FAILED.model_copy(update={"where": "File x.py, line 1"}), "run-1")
    assert all(b"x.py" not in storage.read_bytes(o.uri) for o in storage.list_objects(root))
    assert Ledger.open(root).entries[0].where is None
