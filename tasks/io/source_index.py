"""Index of a labelled source: index.csv, whose rows name image, mask and patient of each slice."""

import csv
import io
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tasks.core.errors import ConfigError, DataError
from tasks.core.naming_rules import SliceIdentity
from tasks.core.quoting import known_or_described
from tasks.io import storage
from tasks.io.discovery import Discovery
from tasks.io.formats import is_volume
from tasks.io.source_layouts import key_of
from tasks.io.stored_objects import StoredObject

INDEX_FILE: Final = "index.csv"
INDEX_COLUMNS: Final = ("image", "mask", "patient_id")
OPTIONAL_COLUMNS: Final = ("lung", "case_id", "slice_index", "source")
MAX_INDEX_DIGITS: Final = 9
_NUMBER = re.compile(r"[-+]?[\d.,]{1,12}")
"""Pattern of a number in a cell that may be quoted; if columns are shifted, a cell may hold anything."""


def read_index(objects: Sequence[StoredObject], discovery: Discovery) -> None:
    """Add the labelled slices that the index.csv among files names, by their paths; reject invalid rows.

    Args:
        objects: Files, and folders that hold one DICOM series each, with a `/` at the end of their URI.
        discovery: Receives the slices.

    Raises:
        ConfigError: If the index is not UTF-8 or lacks a column.
    """
    by_path = {o.path: o for o in objects}
    by_key = {key_of(path): o for path, o in by_path.items()} | by_path
    index_uri = by_path[INDEX_FILE].uri
    try:
        text = storage.read_bytes(index_uri).decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise ConfigError(f"{INDEX_FILE} is not UTF-8 (byte {err.start}). Save it as UTF-8.") from err
    rows = csv.DictReader(io.StringIO(text))
    missing = [name for name in INDEX_COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise ConfigError(
            f"{INDEX_FILE} has the columns {', '.join(rows.fieldnames or ())}; it lacks {', '.join(missing)}. "
            f"Optional: {', '.join(OPTIONAL_COLUMNS)}."
        )
    n_seen: Counter[str] = Counter()
    patient_of: dict[str, str] = {}
    for row in rows:
        try:
            image, mask = _indexed_file(by_key, row, "image"), _indexed_file(by_key, row, "mask")
            lung = _indexed_file(by_key, row, "lung") if row.get("lung") else None
            identity = _indexed_identity(row, n_seen)
            if patient_of.setdefault(identity.case_id, identity.patient_id) != identity.patient_id:
                raise DataError(
                    "index_row", f"Case {identity.case_id} belongs to two patients; give each its own case_id."
                )
        except DataError as err:
            discovery.reject(f"{index_uri}#{rows.line_num}", err.code, f"Line {rows.line_num}: {err.sentence}")
            continue
        n_seen[identity.case_id] += 1
        discovery.add(image, mask, identity=identity, lung=lung, is_volume=is_volume(image.uri))


def _indexed_file(by_key: dict[str, StoredObject], row: dict[str, str | None], column: str) -> StoredObject:
    """Return the file that a row names, also with backward slashes, `./`, or letters in another case or form."""
    named = (row[column] or "").strip()
    found = by_key.get(named) or by_key.get(key_of(posixpath.normpath(named.replace("\\", "/"))))
    if found is None:
        raise DataError("missing_file", f"The file named under {column} does not exist; mend the index.")
    return found


def _indexed_identity(row: dict[str, str | None], n_seen: Counter[str]) -> SliceIdentity:
    """Return the identity of a row; without slice_index, slices are numbered in the order of the rows."""
    patient_id = (row["patient_id"] or "").strip()
    if not patient_id:
        raise DataError("index_row", "patient_id is empty; a patient is never guessed. Fill it in.")
    case_id = row.get("case_id") or patient_id
    position = (row.get("slice_index") or str(n_seen[case_id])).strip()
    whole, _, rest = position.partition(".")
    if rest and not rest.strip("0"):  # 4.0, as a spreadsheet or pandas writes 4
        position = whole
    if not position.isdecimal() or len(position) > MAX_INDEX_DIGITS:
        shown = known_or_described(position, {position} if _NUMBER.fullmatch(position) else (), "value")
        raise DataError("index_row", f"slice_index is {shown}; a whole number from 0 was expected.")
    return SliceIdentity(row.get("source") or "index", patient_id, case_id, int(position))
