"""Statistics of the sources of a dataset as a table in Markdown."""

from collections.abc import Iterable

from tasks.core.numbers import DASH, count, number
from tasks.core.pages.markdown import escaped, table
from tasks.core.source_statistics import SourceStatistics, Spread

SPREAD_NOTE = "Where three values stand together: median (5th to 95th percentile), over slices."


def source_table(sources: Iterable[SourceStatistics]) -> list[str]:
    """Return the lines of a table with one row per source."""
    header = (
        *("source", "patients", "cases", "slices", "with lesion", "lesion in these slices, % of the area"),
        *("shorter side, px", "between slices, mm", "pixel, mm", "field of view, mm"),
    )
    return table(header, [_row(of) for of in sources])


def _row(of: SourceStatistics) -> tuple[str, ...]:
    return (
        escaped(of.source),
        *(count(n) for n in (of.n_patients, of.n_cases, of.n_slices, of.n_lesion_slices)),
        shown_spread(of.lesion_fraction, scale=100, digits=2),
        shown_spread(of.side_px),
        shown_spread(of.slice_spacing_mm, digits=2),
        shown_spread(of.pixel_spacing_mm, digits=2),
        shown_spread(of.field_of_view_mm),
    )


def shown_spread(spread: Spread | None, *, scale: float = 1.0, digits: int = 0) -> str:
    """Return a median with the percentiles around it, without these where all are alike; a dash if it is unknown."""
    if spread is None:
        return DASH
    low, median, high = (number(scale * each, digits=digits) for each in (spread.low, spread.median, spread.high))
    return median if low == median == high else f"{median} ({low} to {high})"
