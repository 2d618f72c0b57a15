"""Tables of a page that sort: cells with the value they sort by, columns with what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.core import numbers


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


def score(value: float | None) -> Cell:
    """Return a cell of a ratio or score."""
    return Cell(numbers.score(value), value)


def number(value: float | None, *, digits: int = 1) -> Cell:
    """Return a cell of a quantity with a unit."""
    return Cell(numbers.number(value, digits=digits), value)


def signed(value: float | None) -> Cell:
    """Return a cell of a difference, with its sign."""
    return Cell(numbers.signed(value), value)


def percent(share: float | None) -> Cell:
    """Return a cell of a share, in per cent."""
    return Cell(numbers.percent(share), share)


def count(n: int | None) -> Cell:
    """Return a cell of a count."""
    return Cell(numbers.count(n), n)


def interval(low_high: Sequence[float] | None, *, digits: int = 3) -> Cell:
    """Return a cell of an interval, sorted by its lower end."""
    return Cell(numbers.interval(low_high, digits=digits), low_high[0] if low_high else None)
