"""Ledger of a segmentation: one small object per scan and run, never changed; one table per finished run.

A scan is finished if an entry has its fingerprint, the digests of model and parameters and the mask version, and the
mask on storage still has the recorded SHA-256. A scan is known to be bad if an entry records that this version of the
readers rejected the content, whatever the model.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import ValidationError

from tasks.core.errors import PASSING_CODES, ConfigError, StorageError
from tasks.core.plural import counted
from tasks.core.reader_version import READER_VERSION
from tasks.core.rows import LedgerEntry, ScanRow
from tasks.io import storage
from tasks.io.outputs.segmentations import MASKS_FOLDER
from tasks.io.record_files import read_table
from tasks.io.stored_objects import StoredObject
from tasks.io.tables import to_parquet

logger = logging.getLogger(__name__)

FOLDER = "ledger"
ENTRY_SUFFIX, TABLE_SUFFIX = ".json", ".parquet"
N_MASK_READS = 3
"""Number of reads of a mask before it counts as damaged; a truncated response is no damage."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Entries of one output at the time it was opened, oldest run first.

    Attributes:
        entries: Entries of every run.
        unreported: (scan_id, source_fingerprint) recorded by runs that were killed before their report; the next run
            that completes turns these entries into tables.
    """

    entries: Sequence[LedgerEntry] = ()
    unreported: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def open(cls, uri: str, run_id: str = "") -> Self:
        """Read the ledger of an output; a new output has an empty one.

        Args:
            uri: The segmentation output.
            run_id: Id of the current run, whose own entries from an earlier attempt are unreported.

        Raises:
            ConfigError: If the table of a run is damaged.
        """
        folder = storage.join(uri, FOLDER)
        if not storage.exists(folder):
            return cls()
        objects = _objects(folder)
        contents = storage.map_in_parallel(_read_entries, objects)
        n_damaged = sum(content is None for content in contents)
        if n_damaged:
            logger.warning(
                "ledger: %s damaged; what they recorded is done again", counted(n_damaged, "entry is", "entries are")
            )
        by_run = sorted((run for content in contents for run in content or ()), key=lambda found: found[0])
        reported = {_run_of(found) for found in objects if found.path.endswith(TABLE_SUFFIX)} - {run_id}
        unreported = frozenset((e.scan_id, e.source_fingerprint) for run_id, e in by_run if run_id not in reported)
        return cls([entry for _, entry in by_run], unreported)

    def finished(self) -> dict[tuple[str, ...], LedgerEntry]:
        """Return the newest entry of each finished scan by `work_key`."""
        return {work_key(entry): entry for entry in self.entries if entry.status == "done"}

    def known_bad(self) -> dict[tuple[str, str], LedgerEntry]:
        """Return the newest entry of each scan that these readers rejected, by (scan_id, source_fingerprint)."""
        bad: dict[tuple[str, str], LedgerEntry] = {}
        for entry in self.entries:
            key = (entry.scan_id, entry.source_fingerprint)
            if entry.status == "done":  # a scan that was segmented once is not bad
                bad.pop(key, None)
            elif _is_refusal(entry) and entry.reader_version == READER_VERSION:
                bad[key] = entry
        return bad


def work_key(row: ScanRow) -> tuple[str, ...]:
    """Return the key of a mask: two rows with the same key have the same mask."""
    return (row.scan_id, row.source_fingerprint, row.model_digest, row.params_digest, row.mask_version)


def mask_here(uri: str, entry: LedgerEntry) -> str | None:
    """Return where the mask of a finished scan lies in an output, which may be a copy of the one it was written to."""
    return entry.mask_uri and storage.join(uri, MASKS_FOLDER, entry.mask_uri.rpartition("/")[2])


def is_mask_intact(uri: str, entry: LedgerEntry) -> bool:
    """Return whether the mask of a finished scan is still in an output, with the recorded digest."""
    mask_uri = mask_here(uri, entry)
    if mask_uri is None:
        return False
    try:
        return any(_digest(mask_uri) == entry.mask_sha256 for _ in range(N_MASK_READS))
    except StorageError as err:
        if err.can_pass:  # a missing response does not mean a missing mask
            raise
        return False


def record(uri: str, row: ScanRow, run_id: str) -> None:
    """Add the entry of a scan that this run finished or rejected; its mask must be published before.

    Args:
        uri: The segmentation output.
        row: Row of the scan.
        run_id: Id of the run; ids of later runs must sort after earlier ones.
    """
    entry = LedgerEntry(**row.model_dump(), reader_version=READER_VERSION)
    entry_uri, content = _entry_uri(uri, run_id, row.scan_id), entry.model_dump_json().encode()
    if storage.create(entry_uri, content):
        return
    earlier = LedgerEntry.model_validate_json(storage.read_bytes(entry_uri))
    if earlier.status == "failed" and not _is_refusal(earlier):  # of an earlier attempt of this run, and resolved since
        storage.publish(entry_uri, content)


def recorded(uri: str, run_id: str, scan_ids: Iterable[str]) -> dict[str, ScanRow]:
    """Return the entries this run already has of some scans; a worker may have died after writing them."""
    uris = [_entry_uri(uri, run_id, scan_id) for scan_id in scan_ids]
    found = [LedgerEntry.model_validate_json(storage.read_bytes(entry)) for entry in uris if storage.exists(entry)]
    rows = [
        ScanRow.model_validate(entry.model_dump()) for entry in found if entry.status == "done" or _is_refusal(entry)
    ]
    return {row.scan_id: row for row in rows}


def compact(uri: str) -> None:
    """Turn the entries of every run into one table per run; the lock on the output must be held.

    Listing a hundred thousand small objects would take each later run minutes. The table is complete before an entry
    is removed; one that is in both counts once.
    """
    folder = storage.join(uri, FOLDER)
    if not storage.exists(folder):
        return
    runs: dict[str, list[StoredObject]] = defaultdict(list)
    for found in _objects(folder):
        runs[_run_of(found)].append(found)
    for run_id, objects in runs.items():
        entries = [found for found in objects if found.path.endswith(ENTRY_SUFFIX)]
        if not entries:
            continue
        contents = storage.map_in_parallel(_read_entries, objects)
        rows = {entry.scan_id: entry for content in contents for _, entry in content or ()}
        table = to_parquet(LedgerEntry, [rows[scan_id] for scan_id in sorted(rows)])
        storage.publish(storage.join(folder, f"{run_id}{TABLE_SUFFIX}"), table)
        storage.map_in_parallel(lambda found: storage.remove(found.uri), entries)
        storage.remove_if_empty(storage.join(folder, run_id))


def _is_refusal(entry: LedgerEntry) -> bool:
    """Return whether the scan was rejected for its content, so that another attempt cannot help."""
    return entry.status == "not_a_scan" or (entry.status == "failed" and entry.error_code not in PASSING_CODES)


def _entry_uri(uri: str, run_id: str, scan_id: str) -> str:
    return storage.join(uri, FOLDER, run_id, f"{scan_id}{ENTRY_SUFFIX}")


def _run_of(found: StoredObject) -> str:
    return found.path.split("/", 1)[0].removesuffix(TABLE_SUFFIX)


def _objects(folder: str) -> list[StoredObject]:
    """Return the objects of a ledger, without what a file manager left there."""
    return [o for o in storage.list_objects(folder) if o.path.endswith((ENTRY_SUFFIX, TABLE_SUFFIX))]


def _read_entries(found: StoredObject) -> list[tuple[str, LedgerEntry]] | None:
    """Return the entries in an object of the ledger, each with its run; None if it is a damaged entry.

    Raises:
        ConfigError: If it is the damaged table of a run.
    """
    if found.path.endswith(TABLE_SUFFIX):
        advice = "Restore it, or remove it: then its scans are segmented again."
        rows = read_table(LedgerEntry, found.uri, error=ConfigError, advice=advice)
        return [(_run_of(found), entry) for entry in rows]
    try:
        content = storage.read_bytes(found.uri, size_bytes=found.size_bytes)
        return [(_run_of(found), LedgerEntry.model_validate_json(content))]
    except ValidationError:
        return None


def _digest(uri: str) -> str:
    return hashlib.sha256(storage.read_bytes(uri)).hexdigest()
