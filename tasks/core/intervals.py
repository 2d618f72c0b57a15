"""Means and medians over patients, with 95 % intervals of the mean.

Patients are few: with ten, the percentile bootstrap covers the true mean in 88 % of cases where 95 % are meant, and
Student's interval in 93 % (400 draws each, spread as on the public scans). So both are reported.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from tasks.core.metrics import mean_defined
from tasks.core.numbers import MIN_PATIENTS

FEW_PATIENTS = 50
"""Number of patients below which a report says that they are few: with a standard deviation of 0.15 between patients,
as on the public scans, the interval of a mean Dice is then wider than 0.08."""
MIN_VALUES = 3
"""Fewest values that have an interval in metrics.json; readers see it from `numbers.MIN_PATIENTS` on."""
CONVENTION = (
    "Intervals are 95 %, of means over patients: by percentile bootstrap, and by Student's t, which is wider where "
    "patients are few. They stay within the range of the figure. Medians have none; of fewer than "
    f"{MIN_PATIENTS} patients none is shown."
)

Interval = tuple[float, float]


def bootstrap_interval(
    values: Sequence[float | None], rng: np.random.Generator, *, n_resamples: int = 2000
) -> Interval | None:
    """Return the 95 % interval of the mean by percentile bootstrap over patients.

    Args:
        values: One value per patient; undefined ones are left out.
        rng: Source of randomness.
        n_resamples: Number of resamples.

    Returns:
        (low, high), or None for fewer than `MIN_VALUES` defined values, which are too few for an interval.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    defined = _defined(values)
    if defined.size < MIN_VALUES:
        return None
    means = rng.choice(defined, size=(n_resamples, defined.size)).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def t_interval(values: Sequence[float | None], *, within: Interval | None = None) -> Interval | None:
    """Return the 95 % interval of the mean by Student's t over patients.

    Args:
        values: One value per patient; undefined ones are left out.
        within: Range that the mean cannot leave, at which the interval is cut off.

    Returns:
        (low, high), or None for fewer than `MIN_VALUES` defined values.
    """
    defined = _defined(values)
    if defined.size < MIN_VALUES:
        return None
    half = float(special.stdtrit(defined.size - 1, 0.975) * defined.std(ddof=1) / np.sqrt(defined.size))
    low, high = float(defined.mean()) - half, float(defined.mean()) + half
    return (low, high) if within is None else (max(low, within[0]), min(high, within[1]))


def summary_of(
    values: Sequence[float | None], *, within: Interval | None = None
) -> dict[str, Any]:  # Any: a number, an interval or a count by name
    """Return mean, both intervals and median of the defined values, and how many are and are not.

    Args:
        values: One value per patient.
        within: Range that the figure cannot leave.
    """
    defined = _defined(values)
    return {
        "mean": mean_defined(values),
        "ci95": bootstrap_interval(values, np.random.default_rng(0)),
        "t_ci95": t_interval(values, within=within),
        "median": float(np.median(defined)) if defined.size else None,
        "n_defined": int(defined.size),
        "n_undefined": len(values) - int(defined.size),
    }


def _defined(values: Sequence[float | None]) -> np.ndarray:
    return np.array([value for value in values if value is not None], np.float64)
