"""Text in Markdown that shows as what it is: a scan may be named so that it would draw a picture from elsewhere."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Final

_SYNTAX: Final = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
"""Characters with a meaning in CommonMark 0.31 and its tables; angle brackets and ampersands become entities."""


def escaped(text: str) -> str:
    """Return a text on one line without a meaning in Markdown or HTML."""
    return _SYNTAX.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def as_code(text: str) -> str:
    """Return a text on one line as a code span (CommonMark 0.31, 6.1)."""
    line = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; the cells are Markdown already, all but the first to the right."""
    marks = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]


def facts(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return the lines of a table of names and values, likewise, with both to the left."""
    return ["|  |  |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]
