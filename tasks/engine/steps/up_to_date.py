"""Sorting of scans into those that are up to date and those to segment, by the ledger."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from tasks.core.errors import DataError
from tasks.core.rows import ScanRow, ScanStatus
from tasks.io import ledger, storage
from tasks.io.outputs import segmentations
from tasks.io.scan_sources import ScanSource
from tasks.io.scans import OF_LISTING
from tasks.stages.segmentation_run import Run


@dataclass(frozen=True, slots=True)
class Sorted:
    """Scans sorted by whether they need work.

    Attributes:
        known: Rows of scans that are finished, known to be bad, or too young.
        new: Every other scan.
        n_unreported: Rows among the known ones of scans that a killed run rejected and never reported.
    """

    known: list[ScanRow]
    new: list[ScanSource]
    n_unreported: int

    @property
    def due(self) -> list[ScanSource]:
        """New scans that the listing did not reject."""
        return [scan for scan in self.new if scan.refused is None]

    def rejected(self, run: Run) -> list[ScanRow]:
        """Return the rows of the new scans that the listing rejected."""
        return [run.refusal(scan, DataError(*scan.refused)) for scan in self.new if scan.refused]


def sort_scans(scans: Sequence[ScanSource], run: Run, youngest_s: float) -> Sorted:
    """Return the scans of a run, sorted by the ledger of its output.

    This run reports what a killed run recorded and never reported: a scan it finished counts as done, not skipped, and
    one it rejected as a new failure.

    Args:
        scans: Scans as listed.
        run: Segmentation run.
        youngest_s: Time of change after which an object may still be uploading.

    Raises:
        ConfigError: If the ids of earlier runs were hashed with another key: every scan would be new under another id.
    """
    output_uri = run.request.output_uri
    entries, shown = ledger.Ledger.open(output_uri, run.request.run_id), segmentations.previewed(output_uri)
    if run.seal:
        for entry in entries.entries[:1]:
            run.seal.open_text(entry.source_uri)
    finished, known_bad = entries.finished(), entries.known_bad()

    def known_row(scan: ScanSource) -> ScanRow | None:
        entry = finished.get(ledger.work_key(run.row(scan, "done")))
        bad = known_bad.get((scan.scan_id, scan.fingerprint))
        is_forced = run.request.segmentation.force and scan.refused is None
        is_finished = entry is not None and scan.scan_id in shown and ledger.is_mask_intact(output_uri, entry)
        is_young = scan.modified_s is not None and scan.modified_s > youngest_s
        if is_young and (is_forced or not is_finished):  # what is finished is unchanged, however young
            return run.row(scan, "deferred")
        if is_forced:
            return _waiting(scan, run)
        if entry is not None and is_finished:
            is_reported = (scan.scan_id, scan.fingerprint) not in entries.unreported
            found = {
                "status": "skipped" if is_reported else "done",
                "warnings": _warnings(scan, entry),
                "mask_uri": ledger.mask_here(output_uri, entry),
            }
            return ScanRow.model_validate(entry.model_dump() | found)
        if bad is not None:
            return run.row(scan, bad.status, error_code=bad.error_code, error=bad.error, warnings=_warnings(scan, bad))
        return _waiting(scan, run)

    rows = storage.map_in_parallel(known_row, scans)
    known = [row for row in rows if row is not None]
    return Sorted(
        known,
        new=[scan for scan, row in zip(scans, rows, strict=True) if row is None],
        n_unreported=sum(
            row.status == "failed" and (row.scan_id, row.source_fingerprint) in entries.unreported for row in known
        ),
    )


def _waiting(scan: ScanSource, run: Run) -> ScanRow | None:
    """Return the row of a scan that waits for the rest of its series; None if it does not."""
    return run.row(scan, "deferred", warnings=list(scan.warnings)) if scan.waits else None


def _warnings(scan: ScanSource, entry: ScanRow) -> list[str]:
    """Return the warnings of an earlier run, with tonight's about what lies beside the scan."""
    beside = [warning for warning in scan.warnings if warning in OF_LISTING]
    return [*beside, *(warning for warning in entry.warnings if warning not in OF_LISTING)]


def count_by_status(rows: Iterable[ScanRow]) -> dict[ScanStatus, int]:
    """Return the number of rows by status, with every status."""
    found = Counter(row.status for row in rows)
    return {status: found[status] for status in get_args(ScanStatus)}
