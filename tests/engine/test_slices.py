import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.config import AugmentConfig
from tasks.engine.slices import load_split, plan_training, training_stream
from tests.conftest import MILD, Trained

NO_CHANGE = AugmentConfig(
    horizontal_flip=0,
    vertical_flip=0,
    rotate_degrees=0,
    shear_degrees=0,
    zoom=0,
    shift=0,
    brightness=0,
    contrast=0,
    noise=0,
)


def _index(has_lesion: list[bool]) -> pa.Table:
    n = len(has_lesion)
    return pa.table(
        {
            "row": pa.array(range(n), pa.int32()),
            "case_id": ["case"] * n,
            "slice_index": pa.array(range(n), pa.int32()),
            "has_lesion": has_lesion,
            "block": pa.array([0] * n, pa.int32()),
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
    plan = plan_training(_index(has_lesion), epochs=2, batch_size=batch_size, lesion_free_fraction=fraction, seed=seed)
    for epoch in range(2):
        rows = [row for row in plan.table.to_pylist() if row["epoch"] == epoch]
        assert len(rows) == plan.steps_per_epoch * batch_size
        counted = [row["row"] for row in rows if row["weight"] == 1]
        assert len(counted) == len(set(counted))
        assert {i for i, lesion in enumerate(has_lesion) if lesion} <= set(counted)


def test_epochs_differ_in_order_and_seeds_repeat_it() -> None:
    """The order is drawn anew each epoch, and the same seed draws the same."""
    index = _index([True] * 30)
    first = plan_training(index, epochs=2, batch_size=5, lesion_free_fraction=0, seed=3)
    again = plan_training(index, epochs=2, batch_size=5, lesion_free_fraction=0, seed=3)
    rows = first.table.column("row").to_pylist()
    assert rows[:30] != rows[30:]
    assert first.table.equals(again.table)


@pytest.mark.ray
def test_worker_count_does_not_change_the_global_batches(trained: Trained) -> None:
    """Two workers together are handed exactly the global batches that one worker is, augmentation included."""
    store = load_split(trained.dataset_uri, "train")
    plan = plan_training(store.index, epochs=1, batch_size=4, lesion_free_fraction=1, seed=1)

    def rows(rank: int, num_workers: int) -> list[dict[str, np.ndarray]]:
        stream = training_stream(store, plan, batch_size=4, rank=rank, num_workers=num_workers, augment=MILD, seed=1)
        return sorted(stream.iter_rows(), key=lambda row: row["image"].tobytes())

    alone = rows(0, 1)
    together = sorted([*rows(0, 2), *rows(1, 2)], key=lambda row: row["image"].tobytes())
    assert len(alone) == len(plan.table)
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one["image"], two["image"])
        np.testing.assert_array_equal(one["mask"], two["mask"])


@pytest.mark.ray
def test_stream_without_augmentation_is_the_dataset(trained: Trained) -> None:
    """With every augmentation off, the stream's slices are the stored ones."""
    store = load_split(trained.dataset_uri, "train")
    plan = plan_training(store.index, epochs=1, batch_size=2, lesion_free_fraction=1, seed=0)
    stream = training_stream(store, plan, batch_size=2, rank=0, num_workers=1, augment=NO_CHANGE, seed=0)
    import ray

    stored = {image.tobytes() for block in ray.get(store.blocks) for image in block["image"]}
    assert {row["image"].tobytes() for row in stream.iter_rows()} == stored
