import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.config.learning import TrainingConfig
from tasks.engine.training import slice_store
from tasks.engine.training.epoch_plan import n_epochs_of, plan_training, worker_share
from tasks.engine.training.slice_loading import load_slices
from tasks.engine.training.slice_store import training_stream
from tests.conftest import MILD, NO_CHANGE


def _index(has_lesion: list[bool]) -> pa.Table:
    n = len(has_lesion)
    return pa.table(
        {
            "row": pa.array(range(n), pa.int32()),
            "case_id": ["case"] * n,
            "slice_index": pa.array(range(n), pa.int32()),
            "has_lesion": has_lesion,
            "block": pa.array([0] * n, pa.int32()),
            "split": ["train"] * n,
        }
    )


@given(
    has_lesion=st.lists(st.booleans(), min_size=1, max_size=40),
    batch_size=st.integers(1, 9),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_every_lesion_slice_counts_once_an_epoch(
    has_lesion: list[bool], batch_size: int, fraction: float, seed: int
) -> None:
    """Each epoch weighs every lesion slice exactly once, no other slice more than once, in whole batches."""
    plan = plan_training(
        _index(has_lesion), epochs=range(2), batch_size=batch_size, lesion_free_fraction=fraction, seed=seed
    )
    for epoch in range(2):
        rows = [row for row in plan.table.to_pylist() if row["epoch"] == epoch]
        assert len(rows) == plan.steps_per_epoch * batch_size
        counted = [row["row"] for row in rows if row["weight"] == 1]
        assert len(counted) == len(set(counted))
        assert {i for i, lesion in enumerate(has_lesion) if lesion} <= set(counted)


@pytest.mark.parametrize(
    ("n_lesion", "n_free", "epochs", "expected"),
    [(250, 0, None, 57), (1000, 800, None, 16), (0, 64, None, 225), (3, 0, 2, 2), (5000, 0, 40, 40)],
)
def test_small_datasets_are_passed_over_more_often(
    n_lesion: int, n_free: int, epochs: int | None, expected: int
) -> None:
    """Unless epochs are set, a training makes at least 900 steps: 250 slices are 16 steps, so 57 epochs."""
    index = _index([True] * n_lesion + [False] * n_free)
    assert n_epochs_of(index, TrainingConfig(epochs=epochs)) == expected


def test_epochs_differ_in_order_and_seeds_repeat_it() -> None:
    """The order is drawn anew each epoch, and the same seed draws the same."""
    index = _index([True] * 30)
    first = plan_training(index, epochs=range(2), batch_size=5, lesion_free_fraction=0, seed=3)
    again = plan_training(index, epochs=range(2), batch_size=5, lesion_free_fraction=0, seed=3)
    rows = first.table.column("row").to_pylist()
    assert rows[:30] != rows[30:]
    assert first.table.equals(again.table)


@given(n_slices=st.integers(1, 60), n_workers=st.integers(1, 4), local_size=st.integers(1, 5))
def test_workers_together_see_every_slice_once_an_epoch(n_slices: int, n_workers: int, local_size: int) -> None:
    """Of an odd count too: each slice counts once, and every step's shares, in order, are the plan's global batch."""
    plan = plan_training(
        _index([True] * n_slices), epochs=range(2), batch_size=n_workers * local_size, lesion_free_fraction=1, seed=0
    )
    shares = [
        worker_share(plan.table, batch_size=n_workers * local_size, rank=rank, num_workers=n_workers)
        for rank in range(n_workers)
    ]
    assert {len(share) for share in shares} == {2 * plan.steps_per_epoch * local_size}
    for step in range(2 * plan.steps_per_epoch):
        parts = [share.slice(step * local_size, local_size) for share in shares]
        global_batch = plan.table.slice(step * n_workers * local_size, n_workers * local_size)
        assert pa.concat_tables(parts).equals(global_batch)
    seen = [(row["epoch"], row["row"]) for share in shares for row in share.to_pylist() if row["weight"] == 1]
    assert sorted(seen) == [(epoch, row) for epoch in range(2) for row in range(n_slices)]


def test_what_is_left_of_a_training_is_planned_as_the_whole_was() -> None:
    """The plan of the last epochs is the end of the plan of all, so that going on changes nothing."""
    index = _index([True] * 30 + [False] * 8)
    how = {"batch_size": 5, "lesion_free_fraction": 0.5, "seed": 3}
    whole, rest = (plan_training(index, epochs=range(first, 4), **how) for first in (0, 2))
    assert whole.steps_per_epoch == rest.steps_per_epoch
    assert whole.table.filter(pc.field("epoch") >= 2).equals(rest.table)


@pytest.mark.ray
@pytest.mark.server
def test_worker_count_does_not_change_augmentation(dataset_uri: str) -> None:
    """Two workers together are handed the very slices that one worker is, changed in the same way."""
    store = load_slices(dataset_uri, "train", rule="slice_8bit")
    plan = plan_training(store.index, epochs=range(1), batch_size=4, lesion_free_fraction=1, seed=1)

    def rows(rank: int, num_workers: int) -> list[dict[str, np.ndarray]]:
        stream = training_stream(store, plan, batch_size=4, rank=rank, num_workers=num_workers, augment=MILD, seed=1)
        return sorted(stream.iter_rows(), key=lambda row: row["image"].tobytes())

    alone = rows(0, 1)
    together = sorted([*rows(0, 2), *rows(1, 2)], key=lambda row: row["image"].tobytes())
    assert len(alone) == len(plan.table)
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one["image"], two["image"])
        np.testing.assert_array_equal(one["labels"], two["labels"])


@pytest.mark.ray
@pytest.mark.server
def test_stream_without_augmentation_is_the_dataset(dataset_uri: str) -> None:
    """With every augmentation off, the stream's slices are the stored ones."""
    store = load_slices(dataset_uri, "train", rule="slice_8bit")
    plan = plan_training(store.index, epochs=range(1), batch_size=2, lesion_free_fraction=1, seed=0)
    stream = training_stream(store, plan, batch_size=2, rank=0, num_workers=1, augment=NO_CHANGE, seed=0)
    import ray

    stored = {image.tobytes() for block in ray.get(store.blocks) for image in block["image"]}
    assert {row["image"].tobytes() for row in stream.iter_rows()} == stored


@pytest.mark.ray
@pytest.mark.server
def test_a_long_training_has_longer_tasks_not_more(dataset_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray looks at each task before it starts the first: there is a most, and the slices are the same."""
    monkeypatch.setattr(slice_store, "MAX_BLOCKS", 6)
    store = load_slices(dataset_uri, "train", rule="slice_8bit")
    plan = plan_training(store.index, epochs=range(4), batch_size=2, lesion_free_fraction=1, seed=0)
    how = {"batch_size": 2, "num_workers": 2, "augment": NO_CHANGE, "seed": 0}
    shares = [training_stream(store, plan, rank=rank, **how).materialize() for rank in range(2)]
    assert sum(share.num_blocks() for share in shares) <= 6
    assert sum(share.count() for share in shares) == len(plan.table)
