"""Records read from JSON files and tables that may be damaged, or written by another version."""

from typing import TypeVar

import pyarrow as pa
from pydantic import ValidationError

from tasks.core.addresses import shown_uri
from tasks.core.errors import LesionWorkflowError
from tasks.core.record import Record
from tasks.io import storage
from tasks.io.tables import from_parquet

Found = TypeVar("Found", bound=Record)


def read_record(kind: type[Found], uri: str, *, error: type[LesionWorkflowError], advice: str) -> Found:
    """Return the record of a JSON file.

    Args:
        kind: Of record.
        uri: The file.
        error: Raised if the file does not hold such a record.
        advice: What to do then.

    Raises:
        StorageError: If the file is gone or the store does not answer.
    """
    try:
        return kind.model_validate_json(storage.read_bytes(uri))
    except ValidationError as err:
        first = err.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise error(
            f"{shown_uri(uri)} is damaged, or was written by another version ({where}: {first['msg']}). {advice}"
        ) from err


def read_table(kind: type[Found], uri: str, *, error: type[LesionWorkflowError], advice: str) -> list[Found]:
    """Return the rows of a table.

    Args:
        kind: Of row.
        uri: The file.
        error: Raised if the file does not hold such rows.
        advice: What to do then.

    Raises:
        StorageError: If the file is gone or the store does not answer.
    """
    content = storage.read_bytes(uri)
    try:
        return from_parquet(kind, content)
    except (pa.ArrowException, ValidationError, OSError) as err:  # of Arrow, an OSError where it cannot unpack
        raise error(f"{shown_uri(uri)} is damaged, or was written by another version. {advice}") from err
