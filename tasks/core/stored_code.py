"""Code of a rejection as it lies in a table, which another version may have written."""

from typing import Annotated, get_args

from pydantic import BeforeValidator

from tasks.core.errors import ErrorCode


def _known(code: object) -> object:
    """Return a code, or the one that stands for all that this version does not know."""
    return code if code is None or code in get_args(ErrorCode) else "other_version"


StoredCode = Annotated[ErrorCode, BeforeValidator(_known)]
"""Code in a table or an index."""
