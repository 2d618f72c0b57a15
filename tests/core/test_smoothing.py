import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.smoothing import smooth_along_z, smooth_cases


def _column(*levels: int) -> np.ndarray:
    return np.array(levels, np.uint8)[:, np.newaxis, np.newaxis]


def test_weights_by_hand() -> None:
    """In the middle of five slices: 0.1, 0.2, 0.4, 0.2, 0.1; at the end, what is there counts in full."""
    smooth = smooth_along_z(_column(100, 0, 200, 0, 0))
    assert smooth.ravel().tolist() == [
        round((4 * 100 + 200) / 7),
        round((2 * 100 + 2 * 200) / 9),
        round((100 + 4 * 200) / 10),
        round(2 * 200 / 9),
        round(200 / 7),
    ]


def test_ties_are_rounded_up() -> None:
    """(4 · 1 + 2 · 0 + 1 · 1) / 10 is a half exactly, wherever the slice lies in an array."""
    column = np.repeat(_column(0, 0, 1, 0, 1, 0, 0), 9, axis=2)
    assert smooth_along_z(column)[2].tolist() == [[1] * 9]


def test_missing_neighbours_have_no_weight() -> None:
    """Slices 4, 5 and 90: the last has no neighbour and stays."""
    smooth = smooth_along_z(_column(90, 0, 120), [4, 5, 90])
    assert smooth.ravel().tolist() == [60, 30, 120]


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_stays_within_the_range_along_the_axis(probability: np.ndarray) -> None:
    """No probability rises above the largest or falls below the smallest of its column."""
    smooth = smooth_along_z(probability)
    assert smooth.shape == probability.shape
    assert (smooth <= probability.max(axis=0)).all()
    assert (smooth >= probability.min(axis=0)).all()


@given(st.integers(1, 9), st.integers(0, 255))
def test_a_constant_column_stays(n_slices: int, level: int) -> None:
    """Of equal slices, one or many, nothing changes."""
    assert (smooth_along_z(np.full((n_slices, 2, 2), level, np.uint8)) == level).all()


@pytest.mark.parametrize("cut", [2, 3, 7])
def test_a_slice_depends_on_two_neighbours_each_way(cut: int) -> None:
    """What lies further away than two slices changes nothing."""
    probability = np.random.default_rng(0).integers(0, 256, (10, 3, 3)).astype(np.uint8)
    changed = probability.copy()
    changed[cut + 3 :] = 0
    np.testing.assert_array_equal(smooth_along_z(changed)[: cut + 1], smooth_along_z(probability)[: cut + 1])


def test_cases_are_smoothed_apart() -> None:
    """Slices of two cases, mixed: each is smoothed with its own neighbours only."""
    rng = np.random.default_rng(0)
    probability = rng.integers(0, 256, (6, 3, 3)).astype(np.uint8)
    keys = [("a", 0), ("b", 7), ("a", 1), ("b", 8), ("a", 2), ("b", 30)]
    smooth = smooth_cases(probability, keys)
    for case_id in ("a", "b"):
        own = [index for index, (case, _) in enumerate(keys) if case == case_id]
        expected = smooth_along_z(probability[own], [keys[index][1] for index in own])
        np.testing.assert_array_equal(smooth[own], expected)
