"""Dataset on storage: card, cases, rejected inputs, and slices in Parquet shards by split."""

import io
from collections.abc import Sequence
from typing import TypedDict, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.addresses import shown_uri
from tasks.core.catalog import Split
from tasks.core.errors import ConfigError, StorageError
from tasks.core.handles import DatasetHandle
from tasks.core.pages.dataset_card import dataset_card_markdown
from tasks.core.plural import counted
from tasks.core.rows import CaseRow, DuplicateRow, FailureRow
from tasks.core.schemas import DatasetCard
from tasks.io import storage
from tasks.io.record_files import read_record, read_table
from tasks.io.stored_objects import StoredObject
from tasks.io.tables import table_from_parquet, table_to_parquet, to_parquet

CARD_FILE = "dataset.json"
CARD_PAGE = "dataset_card.md"
"""The card for readers."""
CASES_FILE = "cases.parquet"
FAILURES_FILE = "failures.parquet"
DUPLICATES_FILE = "duplicates.parquet"
SLICES_FOLDER = "slices"
SOURCE_FOLDER = "source"
AGAIN = "Prepare the dataset again."
FOOTER_BYTES = 1 << 20
"""Of a shard's end: footers have some kilobytes."""
Row = TypeVar("Row", CaseRow, FailureRow)


class SliceRow(TypedDict):
    """Preprocessed slice in shards and Ray.

    `image` is uint8 `(size_px, size_px)`, `mask` the same of 0 and 1; height and width are those of the source grid.
    `lung` is like `mask`, and None like `lung_uri` for a slice without a lung mask.
    `spacing_mm` is between slices, rows and columns; None for slice files.
    """

    case_id: str
    slice_index: int
    patient_id: str
    source: str
    image: np.ndarray
    mask: np.ndarray
    lung: np.ndarray | None
    image_uri: str
    mask_uri: str
    lung_uri: str | None
    source_height: int
    source_width: int
    spacing_mm: list[float] | None


_COLUMN_TYPES: dict[str, pa.DataType] = {
    "case_id": pa.string(),
    "slice_index": pa.int32(),
    "patient_id": pa.string(),
    "source": pa.string(),
    "image_uri": pa.string(),
    "mask_uri": pa.string(),
    "lung_uri": pa.string(),
    "source_height": pa.int32(),
    "source_width": pa.int32(),
    "spacing_mm": pa.list_(pa.float64()),
}
_PIXEL_COLUMNS = ("image", "mask")
_REQUIRED_COLUMNS = {*_COLUMN_TYPES, *_PIXEL_COLUMNS} - {"lung_uri"}
"""Those of shards from before there were lung masks."""


def shard_uri(dataset_uri: str, split: Split, name: str) -> str:
    """Return the URI of a shard of a split."""
    return storage.join(dataset_uri, SLICES_FOLDER, f"split={split}", f"{name}.parquet")


def list_shards(dataset_uri: str, split: Split) -> list[str]:
    """Return the URIs of a split's shards, in order.

    Raises:
        StorageError: If the split has none.
    """
    return [o.uri for o in _shards(storage.join(dataset_uri, SLICES_FOLDER, f"split={split}"))]


def _shards(folder: str) -> list[StoredObject]:
    """Return the shards in a folder, without what a file manager left there."""
    return [o for o in storage.list_objects(folder) if o.path.endswith(".parquet")]


def require_whole(uri: str, card: DatasetCard, splits: Sequence[Split]) -> None:
    """Require that the shards of splits hold as many slices as the dataset's card says.

    Raises:
        ConfigError: If a shard is missing, damaged or another's.
        StorageError: If the store does not answer.
    """
    for split in splits:
        folder, n_expected = storage.join(uri, SLICES_FOLDER, f"split={split}"), card.n_slices_by_split.get(split, 0)
        shards = _shards(folder) if storage.exists(folder) else []
        n_found = sum(storage.map_in_parallel(_count_slices, shards))
        if n_found != n_expected:
            raise ConfigError(
                f"{shown_uri(folder)} holds {counted(n_found, 'slice')}, the dataset's card says {n_expected:,}: a "
                f"shard is missing or another's. {AGAIN}"
            )


def _count_slices(shard: StoredObject) -> int:
    """Return the number of slices in a shard, by its footer."""
    start = max(0, shard.size_bytes - FOOTER_BYTES)
    footer = storage.read_range(shard.uri, start, shard.size_bytes - start)
    try:
        return int(pq.read_metadata(io.BytesIO(footer)).num_rows)
    except (pa.ArrowException, OSError) as err:  # of Arrow: what the store raises is one of ours already
        raise ConfigError(f"{shown_uri(shard.uri)} is damaged. {AGAIN}") from err


def write_shard(uri: str, rows: Sequence[SliceRow]) -> None:
    """Publish slices as one shard; pixels as tensors `(size_px, size_px)` that any pyarrow reads, null where absent."""
    columns = {
        name: pa.array([row[name] for row in rows], kind)  # type: ignore[literal-required]  # the schema names them
        for name, kind in _COLUMN_TYPES.items()
    }
    for name in _PIXEL_COLUMNS:
        pixels = np.stack([row[name] for row in rows])  # type: ignore[literal-required]
        columns[name] = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)
    columns["lung"] = _to_nullable_tensors([row["lung"] for row in rows], rows[0]["mask"].shape)
    storage.publish(uri, table_to_parquet(pa.table(columns)))


def read_shard(uri: str) -> list[SliceRow]:
    """Return the slices of a shard; one written before there were lung masks has none.

    Raises:
        ConfigError: If it is damaged.
    """
    content = storage.read_bytes(uri)
    try:
        table = table_from_parquet(content).combine_chunks()
    except (pa.ArrowException, OSError) as err:  # of Arrow, an OSError where it cannot unpack
        raise ConfigError(f"{shown_uri(uri)} is damaged. {AGAIN}") from err
    if not set(table.column_names) >= _REQUIRED_COLUMNS:
        raise ConfigError(f"{shown_uri(uri)} holds no slices. {AGAIN}")
    pixels = {name: table.column(name).combine_chunks().to_numpy_ndarray() for name in _PIXEL_COLUMNS}
    has_lungs = "lung" in table.column_names
    lungs = _from_nullable_tensors(table.column("lung").combine_chunks()) if has_lungs else [None] * len(table)
    rows = table.select([name for name in _COLUMN_TYPES if name in table.column_names]).to_pylist()
    return [
        SliceRow(**({"lung_uri": None} | row), image=image, mask=mask, lung=lung)  # type: ignore[typeddict-item]
        for row, image, mask, lung in zip(rows, pixels["image"], pixels["mask"], lungs, strict=True)
    ]


def _to_nullable_tensors(arrays: Sequence[np.ndarray | None], shape: tuple[int, ...]) -> pa.ExtensionArray:
    """Return arrays of one shape, uint8, as a column of tensors; what pyarrow makes from NumPy cannot hold nulls."""
    values = np.zeros((len(arrays), *shape), np.uint8)
    for value, array in zip(values, arrays, strict=True):
        if array is not None:
            value[...] = array
    n_values = int(np.prod(shape))
    absent = pa.array([array is None for array in arrays])
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), n_values, mask=absent)
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), shape), flat)


def _from_nullable_tensors(column: pa.ExtensionArray) -> list[np.ndarray | None]:
    """Return the arrays of a column of tensors, in order; None for null."""
    present = iter(column.storage.flatten().to_numpy().reshape(-1, *column.type.shape))  # leaves nulls out
    return [next(present) if is_there else None for is_there in column.is_valid().to_pylist()]


def publish_dataset(
    uri: str,
    card: DatasetCard,
    *,
    cases: Sequence[CaseRow],
    failures: Sequence[FailureRow],
    duplicates: Sequence[DuplicateRow],
) -> None:
    """Publish the tables of a dataset whose shards are written, then its card."""
    storage.publish(storage.join(uri, CASES_FILE), to_parquet(CaseRow, cases))
    storage.publish(storage.join(uri, FAILURES_FILE), to_parquet(FailureRow, failures))
    storage.publish(storage.join(uri, DUPLICATES_FILE), to_parquet(DuplicateRow, duplicates))
    storage.publish(storage.join(uri, CARD_PAGE), dataset_card_markdown(card, cases, failures).encode())
    storage.publish(storage.join(uri, CARD_FILE), card.model_dump_json(indent=2).encode())


def find_card(uri: str) -> DatasetCard | None:
    """Return the card of the dataset at a URI, or None if no dataset is finished."""
    card_uri = storage.join(uri, CARD_FILE)
    if not storage.exists(card_uri):
        return None
    return read_record(DatasetCard, card_uri, error=ConfigError, advice="Prepare the dataset in another folder.")


def read_card(uri: str) -> DatasetCard:
    """Return the card of the dataset at a URI.

    Raises:
        ConfigError: If no finished dataset is there.
    """
    card = find_card(uri)
    if card is None:
        raise ConfigError(
            f"{shown_uri(uri)} holds no {CARD_FILE}, so no finished dataset. Run `lesions prepare` first."
        )
    return card


def handle_of(card: DatasetCard, uri: str) -> DatasetHandle:
    """Return the handle of a dataset for later steps."""
    return DatasetHandle(
        uri=uri, fingerprint=card.fingerprint, n_slices=card.n_slices, n_failed=card.n_failed, warnings=card.warnings
    )


def read_cases(uri: str) -> list[CaseRow]:
    """Return the cases of a dataset.

    Raises:
        ConfigError: If their table is missing or damaged.
    """
    return _read_table(CaseRow, storage.join(uri, CASES_FILE))


def read_failures(uri: str) -> list[FailureRow]:
    """Return the rejected inputs of a dataset.

    Raises:
        ConfigError: If their table is missing or damaged.
    """
    return _read_table(FailureRow, storage.join(uri, FAILURES_FILE))


def _read_table(kind: type[Row], uri: str) -> list[Row]:
    try:
        return read_table(kind, uri, error=ConfigError, advice=AGAIN)
    except StorageError as err:
        if err.code != "vanished":
            raise
        raise ConfigError(f"{shown_uri(uri)} is missing. {AGAIN}") from err
