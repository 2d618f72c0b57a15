"""Distributions of a collection as bars: how many scans fall between two values."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, slots=True)
class Distribution:
    """Distribution of a figure over scans.

    Attributes:
        title: Name of the figure with its unit.
        labels: Range of each bar.
        counts: Scans in each.
        median: Median of the figure, as it is shown; None without any.
        note: What a reader should know about it; empty if nothing.
        digits: Decimals of the median.
    """

    title: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    median: float | None = None
    note: str = ""
    digits: int = 3

    @property
    def n_scans(self) -> int:
        """Number of scans that have this figure."""
        return sum(self.counts)

    @property
    def heights(self) -> tuple[float, ...]:
        """Height of each bar as a share of the largest."""
        return tuple(count / max(*self.counts, 1) for count in self.counts)


def distribution_of(
    title: str,
    values: Sequence[float | None],
    edges: Sequence[float],
    *,
    note: str = "",
    unit_share: float = 1.0,
    digits: int = 3,
) -> Distribution:
    """Return the distribution of known values between edges; the last bar holds all from the last edge on.

    Args:
        title: Name of the figure with its unit.
        values: One per scan; None is left out.
        edges: Lower edge of each bar, ascending; values below the first count in the first bar.
        note: What a reader should know about it.
        unit_share: Factor from values and edges to what is shown, for example 100 for per cent.
        digits: Decimals of the median.
    """
    known = np.array([value for value in values if value is not None], np.float64)
    bars = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, len(edges) - 1)
    counts = np.bincount(bars, minlength=len(edges))
    shown = [f"{edge * unit_share:,g}" for edge in edges]
    labels = [f"{low} to {high}" for low, high in pairwise(shown)]
    median = float(np.median(known)) * unit_share if known.size else None
    return Distribution(title, (*labels, f"{shown[-1]} and more"), tuple(counts.tolist()), median, note, digits)
