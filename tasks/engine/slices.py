"""A dataset's slices as Ray sees them: held once in the object store, drawn in any order, augmented on CPU workers.

Order and content of the training stream are decided by a plan, a table with a row a slice and epoch, before anything
runs: so every worker count sees the same global batches, and nothing depends on which task finishes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from tasks.core.catalog import Split
from tasks.core.config import AugmentConfig
from tasks.io import datasets

BATCHES_PER_BLOCK = 2
"""Global batches one augmentation task makes: enough to outweigh its scheduling, small enough to keep memory flat."""

Batch = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class SliceStore:
    """The slices of one split in Ray's object store (about 2 x size_px² bytes each, spilled to disk when it is full).

    Attributes:
        blocks: One object a shard: `image` and `mask`, uint8 `(N, size_px, size_px)`.
        index: Table with a row a slice: block, row, case_id, slice_index, has_lesion.
    """

    blocks: list["ray.ObjectRef[Batch]"]
    index: pa.Table


def load_split(dataset_uri: str, split: Split) -> SliceStore:
    """Read a split's shards into the object store, in parallel.

    Raises:
        StorageError: If the split has no shard or a shard cannot be read.
    """
    loads = [_load_shard.remote(uri) for uri in datasets.list_shards(dataset_uri, split)]
    tables = [
        table.append_column("block", pa.array([number] * len(table), pa.int32()))
        for number, table in enumerate(ray.get([index for _, index in loads]))
    ]
    return SliceStore([pixels for pixels, _ in loads], pa.concat_tables(tables))


@ray.remote(num_returns=2)
def _load_shard(uri: str) -> tuple[Batch, pa.Table]:
    rows = datasets.read_shard(uri)
    pixels = {name: np.stack([row[name] for row in rows]) for name in ("image", "mask")}  # type: ignore[literal-required]
    index = pa.table(
        {
            "row": pa.array(range(len(rows)), pa.int32()),
            "case_id": [row["case_id"] for row in rows],
            "slice_index": pa.array([row["slice_index"] for row in rows], pa.int32()),
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


def plan_training(index: pa.Table, *, epochs: int, batch_size: int, lesion_free_fraction: float, seed: int) -> Plan:
    """Return the order of all epochs: every lesion slice, a fraction of the lesion-free ones, shuffled anew each time.

    Each epoch is filled up to whole batches with rows of weight 0.

    Args:
        index: `SliceStore.index`.
        epochs: Number of epochs.
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
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(np.concatenate([lesion, rng.choice(lesion_free, n_free, replace=False)]))
        rows = index.take(np.concatenate([order, np.resize(order, n_padding)]))
        weight = np.repeat(np.float32([1, 0]), [n_slices, n_padding])
        rows = rows.append_column("weight", pa.array(weight))
        parts.append(rows.append_column("epoch", pa.array(np.full(len(rows), epoch, np.int32))))
    return Plan(pa.concat_tables(parts), (n_slices + n_padding) // batch_size)


def training_stream(
    store: SliceStore, plan: Plan, *, batch_size: int, rank: int, num_workers: int, augment: AugmentConfig, seed: int
) -> ray.data.Dataset:
    """Return one worker's share of the plan as augmented slices, in the plan's order.

    Of each global batch, worker `rank` gets rows [rank, rank + 1) x batch_size / num_workers.

    Returns:
        Rows of image and mask (uint8 `(size_px, size_px)`), weight (float32) and epoch (int32).
    """
    local_size = batch_size // num_workers
    first = np.arange(0, len(plan.table), batch_size) + rank * local_size
    mine = plan.table.take((first[:, np.newaxis] + np.arange(local_size)).ravel())
    n_rows = local_size * BATCHES_PER_BLOCK
    pieces = [mine.slice(start, n_rows) for start in range(0, len(mine), n_rows)]
    settings = {"blocks": store.blocks, "augment": augment, "seed": seed}
    return ray.data.from_arrow(pieces).map_batches(
        _draw_augmented, batch_size=None, batch_format="pyarrow", fn_kwargs=settings
    )


def _draw_augmented(plan: pa.Table, *, blocks: Sequence[Any], augment: AugmentConfig, seed: int) -> Batch:
    # Any: an ObjectRef. Imported here because the driver plans, and must not load albumentations for it.
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


def split_slices(dataset_uri: str, split: Split) -> ray.data.Dataset:
    """Return a split's slices as they are, one row a slice (`datasets.SliceRow`), a block a shard."""
    uris = datasets.list_shards(dataset_uri, split)
    shards = ray.data.from_items([{"uri": uri} for uri in uris], override_num_blocks=len(uris))
    return shards.flat_map(_read_rows)


def _read_rows(shard: dict[str, str]) -> list[dict[str, Any]]:  # Any: pixels, ids and sizes
    return [dict(row) for row in datasets.read_shard(shard["uri"])]
