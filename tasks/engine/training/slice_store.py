"""A dataset's slices as Ray sees them: held once in the object store, drawn in any order, augmented on CPU workers.

Order and content of the training stream are decided by a plan, a table with a row a slice and epoch, before anything
runs: so every worker count sees the same global batches, and nothing depends on which task finishes first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import ray
import ray.data

from tasks.core.catalog import Split
from tasks.core.config.learning import AugmentConfig
from tasks.io.outputs import datasets

BATCHES_PER_BLOCK = 2
"""Global batches one augmentation task makes: enough to outweigh its scheduling, small enough to keep memory flat."""

MAX_BLOCKS = 10_000
"""Tasks of all workers' streams: Ray looks at each before it starts the first, so a long training has longer ones."""

ROWS_PER_BLOCK = 64
"""Slices one validation task hands over."""

Batch = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class SliceStore:
    """Slices in Ray's object store (about 2 x size_px² bytes each, spilled to disk when it is full).

    Attributes:
        blocks: One object a shard: `image` and `mask`, uint8 `(N, size_px, size_px)`.
        index: Table with a row a slice: block, row, case_id, slice_index, patient_id, source, has_lesion, split.
    """

    blocks: list["ray.ObjectRef[Batch]"]
    index: pa.Table


def load_slices(dataset_uri: str, *splits: Split) -> SliceStore:
    """Read the shards of splits into the object store, in parallel.

    Raises:
        StorageError: If a split has no shard or a shard cannot be read.
    """
    wanted = [(split, uri) for split in splits for uri in datasets.list_shards(dataset_uri, split)]
    loads = cast(  # by Ray's types a task has one return, whatever its num_returns
        "list[tuple[ray.ObjectRef[Batch], ray.ObjectRef[pa.Table]]]", [_load_shard.remote(uri) for _, uri in wanted]
    )
    indexes = ray.get([index for _, index in loads])
    tables = [
        table.append_column("block", pa.array([number] * len(table), pa.int32())).append_column(
            "split", pa.array([split] * len(table))
        )
        for number, (table, (split, _)) in enumerate(zip(indexes, wanted, strict=True))
    ]
    return SliceStore([pixels for pixels, _ in loads], pa.concat_tables(tables))


@ray.remote(num_returns=2)
def _load_shard(uri: str) -> tuple[Batch, pa.Table]:
    rows = datasets.read_shard(uri)
    pixels = {name: np.stack([row[name] for row in rows]) for name in ("image", "mask")}
    index = pa.table(
        {
            "row": pa.array(range(len(rows)), pa.int32()),
            "case_id": [row["case_id"] for row in rows],
            "slice_index": pa.array([row["slice_index"] for row in rows], pa.int32()),
            "patient_id": [row["patient_id"] for row in rows],
            "source": [row["source"] for row in rows],
            "has_lesion": [bool(row["mask"].any()) for row in rows],
        }
    )
    return pixels, index


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained on, in which order.

    Attributes:
        table: Rows of `SliceStore.index` with `epoch` and `weight`; padding rows have weight 0.
        steps_per_epoch: Global batches an epoch.
    """

    table: pa.Table
    steps_per_epoch: int


def plan_training(index: pa.Table, *, epochs: range, batch_size: int, lesion_free_fraction: float, seed: int) -> Plan:
    """Return the order of epochs: every lesion slice, a fraction of the lesion-free ones, shuffled anew each time.

    Each epoch is filled up to whole batches with rows of weight 0.

    Args:
        index: Rows of `SliceStore.index`.
        epochs: Numbers of the epochs, the first of all is 0; the order of each depends on its number alone.
        batch_size: Global batch size.
        lesion_free_fraction: Share of the lesion-free slices drawn each epoch.
        seed: Seed of draws and order.
    """
    has_lesion = index.column("has_lesion").to_numpy(zero_copy_only=False)
    lesion, lesion_free = np.flatnonzero(has_lesion), np.flatnonzero(~has_lesion)
    n_free = round(lesion_free_fraction * len(lesion_free))
    if not len(lesion):
        n_free = len(lesion_free)  # nothing else to learn from
    n_slices = len(lesion) + n_free
    n_padding = -n_slices % batch_size
    parts = []
    for epoch in epochs:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(np.concatenate([lesion, rng.choice(lesion_free, n_free, replace=False)]))
        rows = index.take(np.concatenate([order, np.resize(order, n_padding)]))
        weight = np.repeat(np.array([1, 0], np.float32), [n_slices, n_padding])
        rows = rows.append_column("weight", pa.array(weight))
        parts.append(rows.append_column("epoch", pa.array(np.full(len(rows), epoch, np.int32))))
    return Plan(pa.concat_tables(parts), (n_slices + n_padding) // batch_size)


def worker_share(table: pa.Table, *, batch_size: int, rank: int, num_workers: int) -> pa.Table:
    """Return one worker's rows of a plan: of each global batch, [rank, rank + 1) x batch_size / num_workers."""
    local_size = batch_size // num_workers
    first = np.arange(0, len(table), batch_size) + rank * local_size
    return table.take((first[:, np.newaxis] + np.arange(local_size)).ravel())


def training_stream(
    store: SliceStore, plan: Plan, *, batch_size: int, rank: int, num_workers: int, augment: AugmentConfig, seed: int
) -> ray.data.Dataset:
    """Return one worker's share of the plan as augmented slices, in the plan's order.

    Returns:
        Rows of image and mask (uint8 `(size_px, size_px)`), weight (float32) and epoch (int32).
    """
    mine = worker_share(plan.table, batch_size=batch_size, rank=rank, num_workers=num_workers)
    n_rows = batch_size // num_workers * _batches_per_block(len(plan.table) // batch_size * num_workers)
    pieces = [mine.slice(start, n_rows) for start in range(0, len(mine), n_rows)]
    settings = {"blocks": store.blocks, "augment": augment, "seed": seed}
    return ray.data.from_arrow(pieces).map_batches(
        _draw_augmented,  # type: ignore[arg-type]  # Ray's type of a function leaves fn_kwargs out
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs=settings,
    )


def _batches_per_block(n_shares: int) -> int:
    """Return how many workers' shares of global batches, of that many in all, one augmentation task makes."""
    return max(BATCHES_PER_BLOCK, math.ceil(n_shares / MAX_BLOCKS))


def validation_stream(store: SliceStore, index: pa.Table) -> ray.data.Dataset:
    """Return these rows of the store's index as slices, as they are: image, mask (uint8), patient_id."""
    pieces = [index.slice(start, ROWS_PER_BLOCK) for start in range(0, len(index), ROWS_PER_BLOCK)]
    return ray.data.from_arrow(pieces).map_batches(
        _draw,  # type: ignore[arg-type]  # as above
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={"blocks": store.blocks},
    )


def _draw(index: pa.Table, *, blocks: "Sequence[ray.ObjectRef[Batch]]") -> Batch:
    places = list(zip(index.column("block").to_pylist(), index.column("row").to_pylist(), strict=True))
    pixels = {number: ray.get(blocks[number]) for number in sorted({number for number, _ in places})}
    return {
        "image": np.stack([pixels[number]["image"][row] for number, row in places]),
        "mask": np.stack([pixels[number]["mask"][row] for number, row in places]),
        "patient_id": index.column("patient_id").to_numpy(zero_copy_only=False),
    }


def _draw_augmented(
    plan: pa.Table, *, blocks: "Sequence[ray.ObjectRef[Batch]]", augment: AugmentConfig, seed: int
) -> Batch:
    # Imported here because the driver plans, and must not load albumentations for it.
    from tasks.core.augment import augment_slice, augmentation_seed, build_augmentation

    augmentation = build_augmentation(augment)
    wanted = plan.column("block").to_pylist()
    pixels = {number: ray.get(blocks[number]) for number in sorted(set(wanted))}  # zero-copy on the block's own node
    images, masks = [], []
    for row, number in zip(plan.to_pylist(), wanted, strict=True):
        image, mask = augment_slice(
            augmentation,
            pixels[number]["image"][row["row"]],
            pixels[number]["mask"][row["row"]],
            seed=augmentation_seed(seed, row["epoch"], row["case_id"], row["slice_index"]),
        )
        images.append(image)
        masks.append(mask)
    return {
        "image": np.stack(images),
        "mask": np.stack(masks),
        "weight": plan.column("weight").to_numpy(),
        "epoch": plan.column("epoch").to_numpy(),
    }
