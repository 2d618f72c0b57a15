"""What Prefect's form, the command line and YAML need of a group of parameters."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from tasks.core.catalog import backbone_named
from tasks.core.errors import ConfigError


def _number_fields(schema: dict[str, Any]) -> None:  # Any: pydantic's own type for a JSON schema
    """Give each field its position, because Prefect's form sorts unnumbered fields alphabetically."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class FormModel(BaseModel):
    """Base of all parameter groups: immutable, no unknown fields, fields shown in declared order."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_number_fields)


def _is_known_backbone(name: str) -> str:
    try:
        backbone_named(name)
    except ConfigError as err:
        raise ValueError(str(err)) from err
    return name


def _has_groups(pattern: str | None, needed: tuple[str, ...], optional: str = "") -> str | None:
    """Check that a pattern is a regular expression with these named groups."""
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


def _is_patient_pattern(pattern: str | None) -> str | None:
    return _has_groups(pattern, ("patient",), ", and may have (?P<case>…) and (?P<slice>…)")


def _is_stack_pattern(pattern: str | None) -> str | None:
    return _has_groups(pattern, ("scan", "slice"))


BackboneName = Annotated[str, AfterValidator(_is_known_backbone)]
PatientPattern = Annotated[str | None, AfterValidator(_is_patient_pattern)]
StackPattern = Annotated[str | None, AfterValidator(_is_stack_pattern)]
