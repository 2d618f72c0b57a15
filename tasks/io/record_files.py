"""Records read from JSON files that may be damaged, or written by another version."""

from typing import TypeVar

from pydantic import ValidationError

from tasks.core.addresses import shown_uri
from tasks.core.errors import LesionWorkflowError
from tasks.core.record import Record
from tasks.io import storage

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
