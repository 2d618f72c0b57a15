"""Verdicts of readers on masks: the lines of a verdicts.csv, which may come from anybody, checked one by one."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, get_args

from tasks.core.digests import digest
from tasks.core.errors import DataError
from tasks.core.rows import Verdict, VerdictRow

COLUMNS: Final = ("scan_id", "verdict", "mask_sha256", "decided_at")
"""Columns that a verdicts.csv must have; `comment` and any others are not read."""
MAX_AHEAD: Final = timedelta(days=1)
"""Largest time by which the clock of a reader's machine may be ahead."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

Looked = tuple[str, str]
"""Id of a scan and digest of the mask that was looked at."""


FORMULA_MARKS: Final = tuple("=+-@\t")
"""Beginnings of ids before which the report puts an apostrophe, since a spreadsheet would take them for formulas."""


def browser_store(*, scans_uri: str, model_digest: str) -> str:
    """Return the name under which a browser keeps the verdicts on a collection: report and viewer have the same."""
    return digest(scans=scans_uri, model=model_digest)[:16]


def read_verdicts(
    content: bytes, *, masks: Mapping[str, str], earlier: Iterable[VerdictRow], now: datetime
) -> list[VerdictRow]:
    """Return the verdicts of a verdicts.csv and of earlier reviews, one per mask, and the refused lines of the file.

    Args:
        content: The whole file.
        masks: Digest of the mask of each scan, by its id.
        earlier: Verdicts of earlier reviews; those that were accepted stay, also when the mask is made anew, until a
            later line replaces them or, with an empty verdict, withdraws them.
        now: Time of the review.
    """
    newest: dict[Looked, VerdictRow] = {}
    for row in earlier:
        if row.status == "accepted":
            _keep_newest(newest, row)
    refused: dict[str, VerdictRow] = {}
    for row in _rows(content, masks, seen=set(newest), now=now):
        if row.status == "accepted":
            _keep_newest(newest, row)
        else:
            refused[row.digest] = row
    return [*(newest[key] for key in sorted(newest)), *refused.values()]


def verdicts_on(masks: Mapping[str, str], rows: Sequence[VerdictRow]) -> dict[str, Verdict]:
    """Return the verdict on the mask that each scan has now, by id; a mask that was made anew has none."""
    return {
        row.scan_id: row.verdict
        for row in rows
        if row.status == "accepted" and row.scan_id and row.verdict and masks.get(row.scan_id) == row.mask_sha256
    }


def _keep_newest(newest: dict[Looked, VerdictRow], row: VerdictRow) -> None:
    key = (row.scan_id or "", row.mask_sha256 or "")
    found = newest.get(key)
    if found is None or _time(row) >= _time(found):
        newest[key] = row


def _time(row: VerdictRow) -> datetime:
    return row.decided_at or datetime.min.replace(tzinfo=UTC)


def _rows(content: bytes, masks: Mapping[str, str], *, seen: set[Looked], now: datetime) -> Iterator[VerdictRow]:
    """Yield a row per line; one for the file if it is no table of verdicts."""
    try:
        lines = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        missing = [name for name in COLUMNS if name not in (lines.fieldnames or ())]
        if missing:
            yield _refused(f"It lacks the columns {', '.join(missing)}. Export it again.", made_of=missing)
            return
        for line in lines:
            yield _row(line, lines.line_num, masks, seen=seen, now=now)
    except (UnicodeDecodeError, csv.Error) as err:
        sentence = f"It is no CSV in UTF-8 from here on ({type(err).__name__}). Export it again."
        yield _refused(sentence, made_of=[sha256(content).hexdigest()])


def _row(
    line: dict[str, str | None], number: int, masks: Mapping[str, str], *, seen: set[Looked], now: datetime
) -> VerdictRow:
    cells = {name: (line[name] or "").strip() for name in COLUMNS}
    if cells["scan_id"][:1] == "'" and cells["scan_id"][1:2] in FORMULA_MARKS:
        cells["scan_id"] = cells["scan_id"][1:]
    known = {"scan_id": cells["scan_id"]} if cells["scan_id"] in masks else {}
    made_of = list(cells.values())
    try:
        decided_at = _checked_time(cells["decided_at"], now)
        verdict = next((one for one in get_args(Verdict) if one == cells["verdict"]), None)
        if verdict is None and cells["verdict"]:
            raise DataError("bad_verdict", f"The verdict is none of {', '.join(get_args(Verdict))}, nor empty.")
        if not _SHA256.fullmatch(cells["mask_sha256"]):
            raise DataError("bad_verdict", "mask_sha256 is no SHA-256 of 64 hex digits; export it from the report.")
        looked = (cells["scan_id"], cells["mask_sha256"])
        if not known and looked not in seen:
            raise DataError("unknown_scan", "The output has no mask of a scan with this id.")
        if masks.get(looked[0]) != looked[1] and looked not in seen:
            raise DataError("outdated", "The mask was made anew since it was looked at. Look at the new one.")
    except DataError as err:
        return _refused(f"Line {number}: {err.sentence}", made_of=made_of, code=err, **known)
    return VerdictRow(
        scan_id=looked[0],
        verdict=verdict,
        mask_sha256=looked[1],
        decided_at=decided_at,
        status="accepted",
        digest=digest(line=made_of),
    )


def _checked_time(text: str, now: datetime) -> datetime:
    try:
        stated = datetime.fromisoformat(text)
        found = stated.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter of the years 1 and 9999
        stated = found = datetime.min
    if stated.tzinfo is None:
        raise DataError("bad_verdict", "decided_at is no time with zone; 2026-01-31T12:00:00Z was expected.")
    if found > now + MAX_AHEAD:
        raise DataError("bad_verdict", "decided_at lies in the future. Check the clock of the reader's machine.")
    return found


def _refused(
    sentence: str, *, made_of: Sequence[str], code: DataError | None = None, scan_id: str | None = None
) -> VerdictRow:
    return VerdictRow(
        scan_id=scan_id,
        verdict=None,
        mask_sha256=None,
        decided_at=None,
        status="refused",
        error_code=code.code if code else "bad_verdict",
        error=sentence,
        digest=digest(line=list(made_of)),
    )
