"""Rendering of self-contained HTML pages from templates."""

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.core.plural import counted


def render(template: str, **content: Any) -> str:  # Any: whatever the template shows
    """Return a page; every text in it is escaped."""
    return environment().get_template(template).render(**content)


def environment() -> Environment:
    """Return the templates with their filters."""
    found = Environment(
        loader=PackageLoader("tasks.core"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["number"] = number
    found.filters["counted"] = counted
    found.globals["zip"] = zip
    return found


def data_uri(png: bytes) -> str:
    """Return a PNG as the source of a picture that is inside its page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def number(value: float | int | None) -> str:
    """Return a number with three decimals, an integer with thin spaces between thousands, `undefined` for None."""
    if value is None:
        return "undefined"
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.3f}"
