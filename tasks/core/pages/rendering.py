"""Rendering of self-contained HTML pages from templates."""

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.core import numbers
from tasks.core.plural import counted


def render(template: str, **content: Any) -> str:  # Any: whatever the template shows
    """Return a page; every text in it is escaped."""
    return environment().get_template(template).render(**content)


def environment() -> Environment:
    """Return the templates with their filters."""
    found = Environment(
        loader=PackageLoader("tasks.core.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "count": numbers.count,
        "counted": counted,
        "interval": numbers.interval,
        "number": numbers.number,
        "score": numbers.score,
    }
    found.globals["zip"] = zip
    return found


def data_uri(png: bytes) -> str:
    """Return a PNG as the source of a picture that is inside its page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
