import pytest

from tasks.core.numbers import DASH
from tasks.core.pages.tables import Cell, count, interval, number, percent, score, signed, text


@pytest.mark.parametrize(
    ("cell", "shown", "value"),
    [
        (score(0.12345), "0.123", 0.12345),
        (number(-4.26), "\u22124.3", -4.26),
        (signed(0.05), "+0.050", 0.05),
        (signed(-0.05), "\u22120.050", -0.05),
        (percent(0.1234), "12.3 %", 0.1234),
        (count(1234567), "1,234,567", 1234567),
        (interval((-0.1, 0.2)), "\u22120.100 to 0.200", -0.1),
    ],
)
def test_a_cell_shows_what_is_read_and_sorts_by_what_it_is(cell: Cell, shown: str, value: float) -> None:
    """Rounding and signs are for readers; the order comes from the number itself."""
    assert (cell.text, cell.value, cell.is_text) == (shown, value, False)


@pytest.mark.parametrize("make", [score, number, signed, percent, count, interval])
def test_what_is_unknown_is_a_dash_without_a_value(make: object) -> None:
    """It is not 0, and not sorted as if it were."""
    assert make(None) == Cell(DASH)  # type: ignore[operator]


def test_text_sorts_by_itself() -> None:
    """A cell of text has no number."""
    assert text("a") == Cell("a", is_text=True)
