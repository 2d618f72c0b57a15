"""Base class of all parameter groups, and the check of their regular expressions."""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict


def _number_fields(schema: dict[str, Any]) -> None:  # Any: pydantic's own type for a JSON schema
    """Number the fields in declared order, because Prefect's form sorts unnumbered fields alphabetically."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class FormModel(BaseModel):
    """Base of all parameter groups: immutable, no unknown fields, fields shown in declared order."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_number_fields)


def require_groups(pattern: str | None, needed: tuple[str, ...], optional: str = "") -> str | None:
    """Return the pattern unchanged, after checking that it is a regular expression with the named groups needed.

    Raises:
        ValueError: If it is not; pydantic shows the sentence with the field.
    """
    if pattern is None:
        return None
    try:
        groups = re.compile(pattern).groupindex
    except re.error as err:
        raise ValueError(f"{pattern!r} is not a regular expression: {err}.") from err
    if not groups.keys() >= set(needed):
        wanted = " and ".join(f"(?P<{name}>…)" for name in needed)
        raise ValueError(f"{pattern!r} has the named groups {sorted(groups)}; it needs {wanted}{optional}.")
    return pattern
