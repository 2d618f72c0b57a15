from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.catalog import SPLITS, Split
from tasks.core.config.preparation import Fractions
from tasks.core.errors import ConfigError
from tasks.core.splits import fold_patients, split_patients, split_slices

SHARES = Fractions(val=0.15, test=0.15)

patients = st.dictionaries(st.text("abc0123", min_size=1, max_size=5), st.sampled_from("xyz"), min_size=3, max_size=25)
fractions = st.builds(Fractions, val=st.floats(0.05, 0.4), test=st.floats(0.05, 0.4))
seeds = st.integers(0, 1000)


@given(source_of=patients, shares=fractions, seed=seeds)
def test_every_patient_is_on_one_side_and_no_side_is_empty(
    source_of: dict[str, str], shares: Fractions, seed: int
) -> None:
    """Three patients or more: all are assigned, and train, val and test each get one."""
    sides = split_patients(source_of, fractions=shares, seed=seed)
    assert sides.keys() == source_of.keys()
    assert set(sides.values()) == set(SPLITS)


@given(data=st.data(), source_of=patients, seed=seeds)
def test_order_of_patients_does_not_matter(data: st.DataObject, source_of: dict[str, str], seed: int) -> None:
    """A listing in another order gives the same split."""
    shuffled = dict(data.draw(st.permutations(list(source_of.items()))))
    assert split_patients(shuffled, fractions=SHARES, seed=seed) == split_patients(
        source_of, fractions=SHARES, seed=seed
    )


@given(data=st.data(), source_of=patients, shares=fractions, seed=seeds)
def test_earlier_patients_never_move(
    data: st.DataObject, source_of: dict[str, str], shares: Fractions, seed: int
) -> None:
    """Whatever was assigned before stays; new patients fill the sides that nobody is in, or that is an error."""
    earlier = data.draw(st.dictionaries(st.sampled_from(sorted(source_of)), st.sampled_from(SPLITS)))
    n_new, n_empty = len(source_of) - len(earlier), len(set(SPLITS) - set(earlier.values()))
    if n_new < n_empty:
        with pytest.raises(ConfigError, match="nobody moves"):
            split_patients(source_of, fractions=shares, seed=seed, earlier=earlier)
        return
    sides = split_patients(source_of, fractions=shares, seed=seed, earlier=earlier)
    assert sides.keys() == source_of.keys()
    assert {patient: sides[patient] for patient in earlier} == earlier
    assert set(sides.values()) == set(SPLITS)


@given(data=st.data(), source_of=patients, seed=seeds)
def test_a_growing_collection_keeps_its_split(data: st.DataObject, source_of: dict[str, str], seed: int) -> None:
    """Splitting a part, then the whole with what the part gave, leaves the part as it was."""
    part = data.draw(st.sets(st.sampled_from(sorted(source_of)), min_size=3))
    first = split_patients({p: source_of[p] for p in part}, fractions=SHARES, seed=seed)
    second = split_patients(source_of, fractions=SHARES, seed=seed + 1, earlier=first)
    assert {patient: second[patient] for patient in part} == first


def test_patients_no_longer_present_are_forgotten() -> None:
    """An earlier assignment of a patient who is gone neither appears nor fills a side."""
    gone: dict[str, Split] = {"gone1": "val", "gone2": "test"}
    sides = split_patients(dict.fromkeys("abc", "x"), fractions=SHARES, seed=0, earlier=gone)
    assert sides == split_patients(dict.fromkeys("abc", "x"), fractions=SHARES, seed=0)


def test_shares_are_those_of_the_fractions_within_each_source() -> None:
    """Filling the emptiest side: of 20 patients 14, 3 and 3; of 7 patients 5, 1 and 1."""
    source_of = {f"big{i}": "big" for i in range(20)} | {f"small{i}": "small" for i in range(7)}
    sides = split_patients(source_of, fractions=SHARES, seed=4)
    found = Counter((source_of[patient], side) for patient, side in sides.items())
    assert found == {
        ("big", "train"): 14,
        ("big", "val"): 3,
        ("big", "test"): 3,
        ("small", "train"): 5,
        ("small", "val"): 1,
        ("small", "test"): 1,
    }


def test_new_patients_go_where_earlier_ones_are_few() -> None:
    """With six patients in train and one in val, the next one of that source goes to the test."""
    earlier: dict[str, Split] = {**dict.fromkeys(["p0", "p1", "p2", "p3", "p4", "p5"], "train"), "p6": "val"}
    sides = split_patients({**dict.fromkeys(earlier, "x"), "new": "x"}, fractions=SHARES, seed=0, earlier=earlier)
    assert sides["new"] == "test"


def test_one_patient_a_source_still_fills_every_side() -> None:
    """Three sources of one patient would all go to train; each side gets one instead."""
    sides = split_patients({"a": "x", "b": "y", "c": "z"}, fractions=SHARES, seed=0)
    assert sorted(sides.values()) == ["test", "train", "val"]


def test_seed_decides_who_goes_where() -> None:
    """Another seed is another split of the same sizes."""
    source_of = {f"p{i}": "x" for i in range(30)}
    one, other = (split_patients(source_of, fractions=SHARES, seed=seed) for seed in (0, 1))
    assert one != other
    assert Counter(one.values()) == Counter(other.values())


@pytest.mark.parametrize("n_patients", [0, 1, 2])
def test_too_few_patients_are_refused(n_patients: int) -> None:
    """Two people cannot be on three sides; the sentence says how many there are and what to do."""
    with pytest.raises(ConfigError, match=rf"Found {n_patients} patient.*at least 3.*strategy"):
        split_patients(dict.fromkeys("ab"[:n_patients], "x"), fractions=SHARES, seed=0)


keys_of_slices = st.sets(st.tuples(st.sampled_from("abcd"), st.integers(0, 40)), min_size=20, max_size=60)


@given(keys=keys_of_slices, seed=seeds)
def test_slices_are_shared_out_by_the_fractions(keys: set[tuple[str, int]], seed: int) -> None:
    """Every slice is on one side, and the sides have the rounded sizes."""
    sides = split_slices(sorted(keys), fractions=SHARES, seed=seed)
    n_small = round(0.15 * len(keys))
    assert sides.keys() == keys
    assert Counter(sides.values()) == {"train": len(keys) - 2 * n_small, "val": n_small, "test": n_small}


@given(data=st.data(), keys=keys_of_slices, seed=seeds)
def test_order_of_slices_does_not_matter(data: st.DataObject, keys: set[tuple[str, int]], seed: int) -> None:
    """A listing in another order gives the same split."""
    shuffled = data.draw(st.permutations(sorted(keys)))
    assert split_slices(shuffled, fractions=SHARES, seed=seed) == split_slices(
        sorted(keys), fractions=SHARES, seed=seed
    )


def test_split_by_slice_leaks_as_announced() -> None:
    """The classic split puts neighbours of one case on different sides; that is what it is warned about for."""
    sides = split_slices([("case", i) for i in range(100)], fractions=SHARES, seed=0)
    assert set(sides.values()) == set(SPLITS)
    assert any(sides["case", i] != sides["case", i + 1] for i in range(99))


@pytest.mark.parametrize("n_slices", [0, 1, 3])
def test_too_few_slices_are_refused(n_slices: int) -> None:
    """A side without slices is refused: 15 % of 3 rounds to none."""
    with pytest.raises(ConfigError, match=f"Found {n_slices} slices"):
        split_slices([("case", i) for i in range(n_slices)], fractions=SHARES, seed=0)


def test_too_few_patients_are_counted_not_named() -> None:
    """The sentence holds no patient id: an unknown file name may be a person's."""
    with pytest.raises(ConfigError) as caught:
        split_patients({"jane_doe": "jane", "john_roe": "john"}, fractions=SHARES, seed=0)
    assert "jane" not in str(caught.value)


@given(source_of=patients, n_folds=st.integers(2, 3), seed=seeds)
def test_each_patient_is_held_out_once_and_each_source_evenly(
    source_of: dict[str, str], n_folds: int, seed: int
) -> None:
    """Every patient has one fold; folds differ by one patient at most, in all and within each source."""
    folds = fold_patients(source_of, n_folds=n_folds, seed=seed)
    assert folds.keys() == source_of.keys()
    for members in (source_of, *({p for p in source_of if source_of[p] == name} for name in set(source_of.values()))):
        sizes = [sum(folds[patient] == fold for patient in members) for fold in range(n_folds)]
        assert max(sizes) - min(sizes) <= 1


@given(data=st.data(), source_of=patients, seed=seeds)
def test_order_of_patients_does_not_change_the_folds(data: st.DataObject, source_of: dict[str, str], seed: int) -> None:
    """A listing in another order gives the same folds."""
    shuffled = dict(data.draw(st.permutations(list(source_of.items()))))
    assert fold_patients(shuffled, n_folds=3, seed=seed) == fold_patients(source_of, n_folds=3, seed=seed)


def test_more_folds_than_patients_are_refused() -> None:
    """The error says how many there are, how many are needed and what to do."""
    with pytest.raises(ConfigError, match="Found 2 patients to train on; 4 folds need as many"):
        fold_patients({"a": "x", "b": "x"}, n_folds=4, seed=0)
