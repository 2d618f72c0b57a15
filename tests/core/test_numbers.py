"""Numbers as readers see them."""

from collections.abc import Callable

import pytest

from tasks.core.numbers import DASH, count, interval, number, percent, score, signed, signed_interval


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(0), "0"),
        (count(1234567), "1,234,567"),
        (number(1234.56), "1,234.6"),
        (number(-4.26), "\u22124.3"),
        (number(0.126, digits=2), "0.13"),
        (score(0.12345), "0.123"),
        (score(None, "undefined"), "undefined"),
        (signed(0.05), "+0.050"),
        (signed(-0.05), "\u22120.050"),
        (percent(0.1234), "12.3 %"),
        (interval((-0.1, 0.2)), "\u22120.100 to 0.200"),
        (interval((3.14, 2718.28), digits=1), "3.1 to 2,718.3"),
        (signed_interval((-0.1, 0.2)), "\u22120.100 to +0.200"),
    ],
)
def test_a_figure_has_its_digits_and_its_sign(shown: str, expected: str) -> None:
    """Thousands by comma, three decimals of a score, a minus as wide as a digit."""
    assert shown == expected


@pytest.mark.parametrize("write", [count, number, score, signed, percent, interval])
def test_what_is_unknown_is_a_dash(write: Callable[[None], str]) -> None:
    """It is not 0."""
    assert write(None) == DASH
