"""Tables of a page that sort: cells with the value they sort by, columns with what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field

DASH = "–"
"""Shown where a figure is undefined or not known."""

MINUS = "\u2212"
"""Sign as wide as a digit; a hyphen is hardly seen."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Cell of a table.

    Attributes:
        text: What is shown.
        value: Number to sort by; None sorts last. Cells of text sort by their text.
        is_text: Whether it is text.
    """

    text: str
    value: float | None = None
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """Column of a table: its head and its meaning."""

    label: str
    meaning: str
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Table of a page, with a summary of all rows at its end where there is one.

    Attributes:
        name: Id of the table in the page.
        caption: What it shows.
        columns: Columns; the first names the row.
        rows: Cells by row.
        total: Row of all, which is not sorted.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Cell] = field(default=())


def text(value: str) -> Cell:
    """Return a cell of text."""
    return Cell(value, is_text=True)


def ratio(value: float | None, *, digits: int = 3) -> Cell:
    """Return a cell of a figure, rounded."""
    return Cell(DASH) if value is None else Cell(f"{value:.{digits}f}".replace("-", MINUS), value)


def signed(value: float | None) -> Cell:
    """Return a cell of a difference, with its sign."""
    return Cell(DASH) if value is None else Cell(f"{value:+.3f}".replace("-", MINUS), value)


def percent(value: float | None) -> Cell:
    """Return a cell of a share, in per cent."""
    return Cell(DASH) if value is None else Cell(f"{100 * value:.1f}", value)


def count(value: int | None) -> Cell:
    """Return a cell of a count, its thousands set apart by a thin space."""
    return Cell(DASH) if value is None else Cell(f"{value:,}".replace(",", "\u202f"), value)


def interval(low_high: Sequence[float] | None, *, digits: int = 3) -> Cell:
    """Return a cell of an interval, sorted by its lower end."""
    if not low_high:
        return Cell(DASH)
    return Cell(f"{low_high[0]:.{digits}f} to {low_high[1]:.{digits}f}".replace("-", MINUS), low_high[0])
