"""Slice store: the slices of a dataset once in Ray's object store, and streams of them for workers.

Order and content of the training stream are fixed by a plan before the training (see `epoch_plan`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
import ray.data

from tasks.core.config.augmentation import AugmentConfig
from tasks.engine.training.epoch_plan import Plan, worker_share

BATCHES_PER_BLOCK = 2
"""Global batches per augmentation task: enough to outweigh its scheduling, few enough to bound memory."""

MAX_BLOCKS = 10_000
"""Largest number of tasks of all streams, because Ray plans all tasks before it starts the first."""

ROWS_PER_BLOCK = 64
"""Slices per validation task."""

Batch = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class SliceStore:
    """Slices in Ray's object store (about 2 x size_px² bytes each, spilled to disk when it is full).

    Attributes:
        blocks: One object per shard: `image` and `labels` (core/labels.py), uint8 `(N, size_px, size_px)`.
        index: Table with a row per slice: block, row, case_id, slice_index, patient_id, source, has_lesion, has_lung,
            split.
    """

    blocks: list["ray.ObjectRef[Batch]"]
    index: pa.Table


def training_stream(
    store: SliceStore, plan: Plan, *, batch_size: int, rank: int, num_workers: int, augment: AugmentConfig, seed: int
) -> ray.data.Dataset:
    """Return one worker's share of the plan as augmented slices, in the plan's order.

    Returns:
        Rows of image and labels (uint8 `(size_px, size_px)`), weight (float32), has_lung and epoch (int32).
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
    """Return the number of shares of global batches per augmentation task, for a total number."""
    return max(BATCHES_PER_BLOCK, math.ceil(n_shares / MAX_BLOCKS))


def validation_stream(store: SliceStore, index: pa.Table) -> ray.data.Dataset:
    """Return rows of the store's index as slices without augmentation, case by case in the order of positions.

    Returns:
        Rows of image and labels (uint8 `(size_px, size_px)`), has_lung, case_id, slice_index and patient_id.
    """
    index = index.sort_by([("case_id", "ascending"), ("slice_index", "ascending")])
    pieces = [index.slice(start, ROWS_PER_BLOCK) for start in range(0, len(index), ROWS_PER_BLOCK)]
    return ray.data.from_arrow(pieces).map_batches(
        _draw,  # type: ignore[arg-type]  # as above
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={"blocks": store.blocks},
    )


def _draw(index: pa.Table, *, blocks: "Sequence[ray.ObjectRef[Batch]]") -> Batch:
    rows = list(zip(index.column("block").to_pylist(), index.column("row").to_pylist(), strict=True))
    pixels = {number: ray.get(blocks[number]) for number in sorted({number for number, _ in rows})}
    return {
        "image": np.stack([pixels[number]["image"][row] for number, row in rows]),
        "labels": np.stack([pixels[number]["labels"][row] for number, row in rows]),
        **{name: _column(index, name) for name in ("has_lung", "case_id", "slice_index", "patient_id")},
    }


def _column(table: pa.Table, name: str) -> np.ndarray:
    column: np.ndarray = table.column(name).to_numpy(zero_copy_only=False)
    return column


def _draw_augmented(
    plan: pa.Table, *, blocks: "Sequence[ray.ObjectRef[Batch]]", augment: AugmentConfig, seed: int
) -> Batch:
    # imported here, because the driver only plans and does not need albumentations
    from tasks.core.augment import augment_slice, augmentation_seed, build_augmentation

    augmentation = build_augmentation(augment)
    wanted = plan.column("block").to_pylist()
    pixels = {number: ray.get(blocks[number]) for number in sorted(set(wanted))}  # zero-copy on the block's own node
    images, labels = [], []
    for row, number in zip(plan.to_pylist(), wanted, strict=True):
        image, moved = augment_slice(
            augmentation,
            pixels[number]["image"][row["row"]],
            pixels[number]["labels"][row["row"]],
            seed=augmentation_seed(seed, row["epoch"], row["case_id"], row["slice_index"]),
        )
        images.append(image)
        labels.append(moved)
    return {
        "image": np.stack(images),
        "labels": np.stack(labels),
        "weight": plan.column("weight").to_numpy(),
        "has_lung": _column(plan, "has_lung"),
        "epoch": plan.column("epoch").to_numpy(),
    }
