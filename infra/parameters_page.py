"""Generator of the page of all parameters: `python -m infra.parameters_page` writes infra/docs/parameters.md."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from flows.__main__ import COMMANDS
from tasks.core.config.forms import FormModel
from tasks.core.config.groups import PARAMETER_GROUPS

PAGE: Final = Path(__file__).parent / "docs" / "parameters.md"
COMMAND: Final = ".venv/bin/python -m infra.parameters_page"

_HEAD: Final = f"""# Parameters

Generated from the models in `tasks/core/config` by `{COMMAND}`. Do not edit this page by hand.

Every parameter has the same name everywhere:

- command line: `--training.epochs 20`
- YAML file for `--config FILE.yaml`: `training: {{epochs: 20}}`
- Prefect form and deployment parameters: field `epochs` of the group `training`

A flag on the command line overrides the YAML file. An empty default means "not set".
A yes/no parameter is switched on by its flag and off by `--GROUP.no-NAME`.
Addresses (URI) are local paths, `gs://` or `s3://`.
"""
_BOUNDS: Final = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def page() -> str:
    """Return the page: a table of commands, then one table per parameter group."""
    groups = [line for name, model in PARAMETER_GROUPS.items() for line in _group(name, model)]
    return "\n".join([_HEAD, *_commands(), *groups]) + "\n"


def _commands() -> Iterator[str]:
    """Yield the table of commands with their arguments and groups."""
    yield from ("## Commands", "", "| command | parameter groups |", "|---|---|")
    for name, (address, _) in COMMANDS.items():
        arguments, groups = _signature(address)
        usage = " ".join(["lesions", name, *arguments])
        yield f"| `{usage}` | {', '.join(f'[{group}](#{group})' for group in groups)} |"
    yield ""


def _signature(address: str) -> tuple[list[str], list[str]]:
    """Return the arguments of a command, optional ones in brackets, and its parameter groups."""
    module, _, name = address.partition(":")
    command = getattr(importlib.import_module(module), name)
    function = inspect.unwrap(getattr(command, "fn", command))
    arguments: list[str] = []
    groups: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        shown = parameter.name.replace("_", "-")
        if parameter.name in PARAMETER_GROUPS:
            groups.append(parameter.name)
        elif parameter.default is inspect.Parameter.empty:
            arguments.append(shown.upper())
        else:
            arguments.append(f"[--{shown}]")
    return arguments, groups


def _group(name: str, model: type[FormModel]) -> Iterator[str]:
    """Yield the section of a parameter group."""
    yield from (f"## {name}", "", _flat(inspect.getdoc(model) or ""), "")
    yield from ("| parameter | flag | default | values | description |", "|---|---|---|---|---|")
    yield from _rows(model, prefix=name)
    yield ""


def _rows(model: type[FormModel], *, prefix: str) -> Iterator[str]:
    """Yield one row per field; a nested model is replaced by its own fields."""
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        flag = f"{prefix}.{name.replace('_', '-')}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, FormModel):
            yield from _rows(field.annotation, prefix=flag)
            continue
        cells = (field.title or name, f"`--{flag}`", _shown(field.default), _values(properties[name]))
        yield f"| {' | '.join(map(_cell, (*cells, field.description or '')))} |"


def _values(schema: dict[str, Any]) -> str:  # Any: pydantic's own type for a JSON schema
    """Return the values a field accepts: the choices, or the type with its bounds."""
    schema = next((part for part in schema.get("anyOf", ()) if part.get("type") != "null"), schema)
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if schema["type"] == "boolean":
        return "yes, no"
    if schema["type"] == "array":
        return "several texts, each behind the flag"
    kind = {"integer": "whole number", "number": "number", "string": "text"}[schema["type"]]
    bounds = [shape.format(_shown(schema[key])) for key, shape in _BOUNDS.items() if key in schema]
    if "multipleOf" in schema:
        bounds.append(f"multiple of {schema['multipleOf']}")
    if "pattern" in schema:
        bounds.append(f"matches `{schema['pattern']}`")
    return ", ".join([kind, *bounds])


def _shown(value: object) -> str:
    """Return a value as a user types it; empty if it is not set."""
    if value in (None, "", ()):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _flat(text).replace("|", r"\|")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
