"""Loading of a dataset's shards into Ray's object store."""

from typing import cast

import numpy as np
import pyarrow as pa
import ray

from tasks.core.catalog import IntensityRule, Split
from tasks.core.labels import pack_labels
from tasks.core.landmarks import apply_rule
from tasks.engine.training.slice_store import Batch, SliceStore
from tasks.io.outputs import datasets


def load_slices(dataset_uri: str, *splits: Split, rule: IntensityRule) -> SliceStore:
    """Read the shards of splits into the object store, in parallel.

    Args:
        dataset_uri: URI of the dataset.
        splits: Splits to read.
        rule: Intensity rule of the network.

    Raises:
        StorageError: If a split has no shard or a shard cannot be read.
    """
    wanted = [(split, uri) for split in splits for uri in datasets.list_shards(dataset_uri, split)]
    loads = cast(  # by Ray's types a task has one return, whatever its num_returns
        "list[tuple[ray.ObjectRef[Batch], ray.ObjectRef[pa.Table]]]",
        [_load_shard.remote(uri, rule) for _, uri in wanted],
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
def _load_shard(uri: str, rule: IntensityRule) -> tuple[Batch, pa.Table]:
    rows = datasets.read_shard(uri)
    pixels = {
        "image": apply_rule(np.stack([row["image"] for row in rows]), rule),
        "labels": np.stack([pack_labels(row["mask"], row["lung"]) for row in rows]),
    }
    index = pa.table(
        {
            "row": pa.array(range(len(rows)), pa.int32()),
            "case_id": [row["case_id"] for row in rows],
            "slice_index": pa.array([row["slice_index"] for row in rows], pa.int32()),
            "patient_id": [row["patient_id"] for row in rows],
            "source": [row["source"] for row in rows],
            "has_lesion": [bool(row["mask"].any()) for row in rows],
            "has_lung": [row["lung"] is not None for row in rows],
        }
    )
    return pixels, index
