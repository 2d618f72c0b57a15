"""Values of a command that do not come one per flag: those of `--config`, and the groups inside of groups."""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from tasks.core.config.groups import PARAMETER_GROUPS
from tasks.core.errors import ConfigError
from tasks.runtime.nearest import did_you_mean

Groups = dict[str, dict[str, Any]]
"""Values of parameters by group and field."""

INNER_GROUPS: Final = {
    f"--{group}.{name.replace('_', '-')}": (group, name)
    for group, model in PARAMETER_GROUPS.items()
    for name, field in model.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
"""Flags of fields that hold several values, with the group and the name of the field."""

_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?,?")


def read_config(path: Path) -> Groups:
    """Return the parameter groups of a YAML file, validated, so that a misspelt name is an error.

    Raises:
        ConfigError: If the file cannot be read, or holds something else.
        ValidationError: If a value or the name of a field is wrong.
    """
    try:
        groups = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except UnicodeDecodeError as err:
        raise ConfigError(f"--config {path} is not UTF-8 (byte {err.start}). Save it as UTF-8.") from err
    except OSError as err:
        raise ConfigError(f"Cannot read --config {path}: {err.strerror}.") from err
    except (yaml.YAMLError, ValueError, RecursionError) as err:  # of dates, of NUL in the path, of brackets
        raise ConfigError(f"--config {path} is no YAML: {' '.join(str(err).split())}.") from err
    if not isinstance(groups, dict) or not all(isinstance(values, dict) for values in groups.values()):
        raise ConfigError(f"--config {path} must hold groups of parameters, as `training:` with `epochs: 10` below it.")
    unknown = [name for name in groups if name not in PARAMETER_GROUPS]
    if unknown:
        known = ", ".join(PARAMETER_GROUPS)
        hint = did_you_mean(str(unknown[0]), PARAMETER_GROUPS)
        raise ConfigError(f"{path} holds the groups {unknown}; known are {known}.{hint}")
    for name, values in groups.items():
        PARAMETER_GROUPS[name].model_validate(values)
    return groups


def texts(values: Any) -> Iterator[str]:  # Any: YAML
    """Yield every text of a YAML file."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            yield from texts(value)


def without_inner_groups(tokens: Sequence[str]) -> tuple[list[str], Groups]:
    """Return the tokens without the flags of `INNER_GROUPS`, and the values of those.

    A flag takes one JSON object or list, or numbers, which may also come one per repeated flag.

    Raises:
        ConfigError: If what looks like JSON is none.
    """
    rest: list[str] = []
    found: dict[str, list[str]] = {}
    waiting = list(tokens)
    while waiting:
        flag, is_joined, value = waiting.pop(0).partition("=")
        if flag == "--":
            return [*rest, flag, *waiting], _values_of(found)
        if flag not in INNER_GROUPS:
            rest.append(f"{flag}{is_joined}{value}")
            continue
        taken = [value] if is_joined else _taken(waiting)
        found.setdefault(flag, []).extend(taken)
    return rest, _values_of(found)


def _taken(waiting: list[str]) -> list[str]:
    """Remove from the tokens what belongs to the flag before them: one value, and all numbers after a number."""
    taken = [waiting.pop(0)] if waiting and not waiting[0].startswith("--") else []
    while taken and waiting and _NUMBER.fullmatch(taken[0]) and _NUMBER.fullmatch(waiting[0]):
        taken.append(waiting.pop(0))
    return taken


def _values_of(found: Mapping[str, Sequence[str]]) -> Groups:
    groups: Groups = {}
    for flag, values in found.items():
        group, name = INNER_GROUPS[flag]
        groups.setdefault(group, {})[name] = _value_of(flag, values)
    return groups


def _value_of(flag: str, values: Sequence[str]) -> Any:  # Any: JSON
    """Return the value of one flag; texts that are no JSON are left for the field to refuse."""
    if len(values) == 1 and values[0][:1] in {"[", "{"}:
        try:
            return json.loads(values[0])
        except ValueError as err:
            raise ConfigError(f"{flag} {values[0]} is no JSON: {err}. In a shell, put it in single quotes.") from err
    parts = [part for value in values for part in value.split(",") if part]
    if not parts:
        raise ConfigError(f"{flag} requires an argument, as numbers or as JSON.")
    return [float(part) if _NUMBER.fullmatch(part) else part for part in parts]


def merged(groups: Groups, over: Groups) -> Groups:
    """Return the values of two sources; those of the second win, field by field.

    Raises:
        ValidationError: If a value of the second is wrong.
    """
    both = {name: dict(values) for name, values in groups.items()}
    for name, values in over.items():
        PARAMETER_GROUPS[name].model_validate(values)
        both.setdefault(name, {}).update(values)
    return both


def require_groups_of(command: Callable[..., object], given: Groups) -> None:
    """Refuse values of groups that a command does not have.

    Raises:
        ConfigError: If there are any.
    """
    known = inspect.signature(command).parameters
    for flag, (group, name) in INNER_GROUPS.items():
        if group not in known and name in given.get(group, {}):
            raise ConfigError(f"Unknown option: {flag}. The command has no {group}.")
