"""Rendering of self-contained HTML pages from templates."""

import base64
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.core.plural import counted


def render(template: str, **content: Any) -> str:  # Any: whatever the template shows
    """Return a page; every text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("tasks.core"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = number
    environment.filters["percent"] = _percent
    environment.filters["counted"] = counted
    environment.filters["interval"] = _interval
    environment.filters["words"] = lambda name: name.replace("_", " ")
    environment.globals["zip"] = zip
    return environment.get_template(template).render(**content)


def data_uri(png: bytes) -> str:
    """Return a PNG as the source of a picture that is inside its page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def number(value: float | int | None) -> str:
    """Return a number with three decimals, an integer with groups of three digits, `undefined` for None."""
    if value is None:
        return "undefined"
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.3f}"


def _interval(low_high: Sequence[float] | None) -> str:
    return f"{low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else "–"


def _percent(share: float | None) -> str:
    return "undefined" if share is None else f"{100 * share:.1f}"
