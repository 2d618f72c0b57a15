"""Numbers as readers see them: the same figure is written the same way on every page, card and terminal.

Thousands are set apart by a comma, decimals by a point; what is undefined or not known is a dash.
"""

from collections.abc import Sequence
from typing import Final

DASH: Final = "–"
"""Shown where a figure is undefined or not known."""
MINUS: Final = "\u2212"
"""Sign as wide as a digit; a hyphen is hardly seen."""
MIN_PATIENTS: Final = 5
"""Fewest patients whose interval is shown: of three, Student's is 2.5 standard deviations to either side, of five half
of that."""
TOO_FEW: Final = "too few patients for an interval"
"""Shown instead of it."""


def count(n: int | None) -> str:
    """Return a count."""
    return DASH if n is None else f"{n:,}"


def number(value: float | None, *, digits: int = 1) -> str:
    """Return a quantity with a unit: millilitres, millimetres, seconds, lesions per scan."""
    return DASH if value is None else _written(value, f",.{digits}f")


def score(value: float | None, unknown: str = DASH) -> str:
    """Return a ratio, score or threshold, with three decimals.

    Args:
        value: The figure.
        unknown: Text for an undefined one; sentences have a word for it.
    """
    return unknown if value is None else _written(value, ".3f")


def signed(value: float | None) -> str:
    """Return a difference of scores, with its sign."""
    return DASH if value is None else _written(value, "+.3f")


def percent(share: float | None) -> str:
    """Return a share in per cent."""
    return DASH if share is None else f"{_written(100 * share, ',.1f')} %"


def interval(low_high: Sequence[float] | None, *, digits: int = 3) -> str:
    """Return the ends of an interval."""
    return DASH if not low_high else " to ".join(number(end, digits=digits) for end in low_high)


def shown_interval(low_high: Sequence[float] | None, n_patients: int) -> Sequence[float] | None:
    """Return the interval of a mean if it is of enough patients to be shown, else None."""
    return low_high if low_high and n_patients >= MIN_PATIENTS else None


def signed_interval(low_high: Sequence[float]) -> str:
    """Return the ends of an interval of differences, with their signs."""
    return " to ".join(signed(end) for end in low_high)


def _written(value: float, style: str) -> str:
    return f"{value:{style}}".replace("-", MINUS)
