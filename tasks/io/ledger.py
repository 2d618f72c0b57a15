"""What has been segmented: one small object a scan and run, only ever added, never changed.

A scan is finished when an entry has its fingerprint, the model's digest, the parameters' digest and the code version,
and the mask on storage still has the recorded sha256. A scan is known bad when an entry says that this version of the
readers refused this content; another model would be refused it too.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tasks.core.errors import StorageError
from tasks.core.records import ScanRow
from tasks.io import storage
from tasks.io.formats import READER_VERSION

FOLDER = "ledger"


class LedgerEntry(ScanRow):
    """What became of one scan, and the version of the readers that took or refused it."""

    reader_version: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries of one output as they were when it was opened, oldest run first."""

    entries: Sequence[LedgerEntry] = ()

    @classmethod
    def open(cls, uri: str) -> Self:
        """Read the ledger of an output; a new output has an empty one."""
        folder = storage.join(uri, FOLDER)
        if not storage.exists(folder):
            return cls()
        contents = storage.read_all([o.uri for o in storage.list_objects(folder)])
        return cls([LedgerEntry.model_validate_json(content) for content in contents])

    def finished(self) -> dict[tuple[str, ...], LedgerEntry]:
        """Return the newest entry of each finished scan by `work_key`."""
        return {work_key(entry): entry for entry in self.entries if entry.status == "done"}

    def known_bad(self) -> dict[tuple[str, str], LedgerEntry]:
        """Return the newest entry of each scan these readers refused, by (scan_id, source_fingerprint)."""
        return {
            (entry.scan_id, entry.source_fingerprint): entry
            for entry in self.entries
            if entry.status == "failed" and entry.reader_version == READER_VERSION
        }


def work_key(row: ScanRow) -> tuple[str, ...]:
    """Return what must be the same for two rows to mean the same mask."""
    return (row.scan_id, row.source_fingerprint, row.model_digest, row.params_digest, row.code_version)


def is_mask_intact(entry: LedgerEntry) -> bool:
    """Say whether the mask of a finished scan is still there, with the recorded digest."""
    if entry.mask_uri is None:
        return False
    try:
        content = storage.read_bytes(entry.mask_uri)
    except StorageError:
        return False
    return hashlib.sha256(content).hexdigest() == entry.mask_sha256


def record(uri: str, row: ScanRow, run_id: str) -> None:
    """Add the entry of a scan that this run finished or set aside; its mask must be published before.

    Args:
        uri: The segmentation output.
        row: What became of the scan.
        run_id: Identity of the run; later runs must sort after earlier ones.
    """
    entry = LedgerEntry(**row.model_dump(), reader_version=READER_VERSION)
    storage.create(storage.join(uri, FOLDER, run_id, f"{row.scan_id}.json"), entry.model_dump_json().encode())
