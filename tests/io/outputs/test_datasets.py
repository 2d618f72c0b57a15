"""A dataset on storage: shards, tables and the card that finishes it."""

import io
from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.core.config.preparation import PreparationConfig
from tasks.core.errors import ConfigError, StorageError
from tasks.core.handles import DatasetHandle
from tasks.core.rows import CaseRow, FailureRow
from tasks.core.schemas import DatasetCard
from tasks.io import file_systems, storage
from tasks.io.outputs import datasets
from tasks.io.outputs.datasets import SliceRow
from tasks.io.tables import from_parquet, table_to_parquet
from tests.core.samples import DUPLICATE

CARD = DatasetCard(
    fingerprint="f" * 64,
    code_version="0.1.0+abc",
    size_px=32,
    intensity_rule="slice_8bit",
    source_uri="gs://bucket/source",
    preparation=PreparationConfig(size_px=32),
    assignments={"anna": "train", "bert": "val"},
    n_patients=2,
    n_cases=2,
    n_slices=3,
    n_slices_by_split={"train": 2, "val": 1, "test": 0},
    n_failed=1,
    warnings=("2 slices have names no rule knows",),
)
CASE = CaseRow(
    case_id="anna",
    patient_id="anna",
    source="index",
    split="train",
    n_slices=2,
    n_source_slices=3,
    lesion_fraction=0.5,
    source_uri="gs://bucket/source",
    source_fingerprint="f",
)
FAILURE = FailureRow(uri="gs://bucket/source/x.png", error_code="unreadable", error="Image is damaged.")


def _slice(slice_index: int, image: np.ndarray) -> SliceRow:
    return SliceRow(
        case_id="anna",
        slice_index=slice_index,
        patient_id="anna",
        source="index",
        image=image,
        mask=(image > 2).astype(np.uint8),
        lung=None if slice_index == 2 else (image > 1).astype(np.uint8),
        image_uri=f"gs://bucket/source/images/{slice_index}.png",
        mask_uri=f"gs://bucket/source/{slice_index}.png",
        lung_uri=None if slice_index == 2 else f"gs://bucket/source/lungs/{slice_index}.png",
        source_height=512,
        source_width=400,
        spacing_mm=[5.0, 0.8, 0.7] if slice_index else None,
    )


IMAGE = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)


def test_slices_make_the_round_trip(root: str) -> None:
    """A shard gives back every slice in order: keys, uint8 pixels and the geometry of the source."""
    uri = datasets.shard_uri(root, "train", "00000")
    rows = [_slice(7, IMAGE), _slice(2, IMAGE[::-1])]
    datasets.write_shard(uri, rows)
    for read, written in zip(datasets.read_shard(uri), rows, strict=True):
        assert read["image"].dtype == read["mask"].dtype == np.uint8
        np.testing.assert_array_equal(read["image"], written["image"])
        np.testing.assert_array_equal(read["mask"], written["mask"])
        keys = [key for key in written if key not in ("image", "mask", "lung")]
        assert {key: read[key] for key in keys} == {key: written[key] for key in keys}
        assert read.keys() == written.keys()


@pytest.mark.parametrize("present", [[True, False, True], [False, True], [False, False], [True, True]])
def test_a_slice_without_a_lung_mask_has_null(root: str, present: list[bool]) -> None:
    """Lung masks return to their slices, wherever others have none; a column of none at all is read too."""
    uri = datasets.shard_uri(root, "train", "00000")
    lungs = [np.roll(IMAGE > 1, i).astype(np.uint8) if is_there else None for i, is_there in enumerate(present)]
    rows = [_slice(i, IMAGE) for i in range(len(present))]
    datasets.write_shard(uri, [SliceRow(**(row | {"lung": lung})) for row, lung in zip(rows, lungs, strict=True)])
    found = [row["lung"] for row in datasets.read_shard(uri)]
    assert [None if lung is None else lung.tolist() for lung in found] == [
        None if lung is None else lung.tolist() for lung in lungs
    ]
    assert {lung.dtype for lung in found if lung is not None} <= {np.dtype(np.uint8)}
    column = pq.read_table(io.BytesIO(storage.read_bytes(uri))).column("lung")
    assert column.is_null().to_pylist() == [not is_there for is_there in present]


def test_a_shard_written_before_there_were_lung_masks_has_none(root: str) -> None:
    """Datasets of earlier versions stay readable: their slices have no lung mask."""
    uri = datasets.shard_uri(root, "train", "00000")
    datasets.write_shard(uri, [_slice(0, IMAGE), _slice(1, IMAGE)])
    table = pq.read_table(io.BytesIO(storage.read_bytes(uri)))
    storage.publish(uri, table_to_parquet(table.drop_columns(["lung", "lung_uri"])))
    rows = datasets.read_shard(uri)
    assert [(row["slice_index"], row["lung"], row["lung_uri"]) for row in rows] == [(0, None, None), (1, None, None)]
    np.testing.assert_array_equal(rows[1]["image"], IMAGE)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, lambda a: np.flip(np.flip(a))])
@pytest.mark.parametrize("n_slices", [1, 3])
def test_pixels_do_not_depend_on_their_layout_in_memory(
    root: str, layout: Callable[[np.ndarray], np.ndarray], n_slices: int
) -> None:
    """Transposed or flipped views are stored as the pixels they show."""
    uri = datasets.shard_uri(root, "val", "00000")
    datasets.write_shard(uri, [_slice(i, layout(IMAGE)) for i in range(n_slices)])
    assert [row["image"].tolist() for row in datasets.read_shard(uri)] == [IMAGE.tolist()] * n_slices


def test_any_pyarrow_reads_a_shard(root: str) -> None:
    """The columns are those of the contract, and pixels are a tensor type that pyarrow itself knows."""
    uri = datasets.shard_uri(root, "test", "00000")
    datasets.write_shard(uri, [_slice(0, IMAGE)])
    table = pq.read_table(io.BytesIO(storage.read_bytes(uri)))
    assert set(table.column_names) == set(SliceRow.__annotations__)
    for name in ("image", "mask", "lung"):
        assert str(table.schema.field(name).type).startswith("extension<arrow.fixed_shape_tensor[value_type=uint8")
    assert table.column("image").combine_chunks().to_numpy_ndarray().shape == (1, 2, 3)


def test_the_same_slices_give_the_same_shard(root: str) -> None:
    """Written twice, a shard has the same bytes."""
    contents = []
    for name in ("a", "b"):
        datasets.write_shard(datasets.shard_uri(root, "train", name), [_slice(0, IMAGE), _slice(1, IMAGE)])
        contents.append(storage.read_bytes(datasets.shard_uri(root, "train", name)))
    assert contents[0] == contents[1]


def test_shards_lie_by_split_and_are_listed_in_order(root: str) -> None:
    """Each split's shards are listed by name, and no other split's."""
    for split, name in (("train", "00010"), ("train", "00002"), ("val", "00001")):
        datasets.write_shard(datasets.shard_uri(root, split, name), [_slice(0, IMAGE)])
    assert datasets.list_shards(root, "train") == [
        file_systems.absolute(f"{root}/slices/split=train/{name}.parquet") for name in ("00002", "00010")
    ]
    assert len(datasets.list_shards(root, "val")) == 1


def test_a_split_without_shards_is_a_storage_error(root: str) -> None:
    """A split that was never written is not taken for an empty one."""
    datasets.write_shard(datasets.shard_uri(root, "train", "00000"), [_slice(0, IMAGE)])
    with pytest.raises(StorageError, match="split=test"):
        datasets.list_shards(root, "test")


def test_a_published_dataset_is_found_with_its_tables(root: str) -> None:
    """Card, cases and failures are read back equal, and the reference for later steps carries their figures."""
    datasets.publish_dataset(root, CARD, cases=[CASE], failures=[FAILURE], duplicates=[DUPLICATE])
    assert datasets.find_card(root) == datasets.read_card(root) == CARD
    assert from_parquet(CaseRow, storage.read_bytes(f"{root}/cases.parquet")) == [CASE]
    assert datasets.read_failures(root) == [FAILURE]
    assert storage.read_bytes(f"{root}/dataset_card.md").startswith(b"# Dataset card\n")
    assert datasets.handle_of(CARD, root) == DatasetHandle(
        uri=root, fingerprint="f" * 64, n_slices=3, n_failed=1, warnings=("2 slices have names no rule knows",)
    )


def test_a_dataset_without_card_is_not_finished(root: str) -> None:
    """Before the card is written nothing counts as a dataset, whatever else lies there."""
    datasets.write_shard(datasets.shard_uri(root, "train", "00000"), [_slice(0, IMAGE)])
    assert datasets.find_card(root) is None
    with pytest.raises(ConfigError, match=r"no dataset\.json.*Run `lesions prepare` first"):
        datasets.read_card(root)


def test_a_card_of_a_later_minor_version_is_read(root: str) -> None:
    """A field this version does not know is ignored."""
    content = CARD.model_dump_json().replace("{", '{"new_in_1_1": 5, ', 1)
    storage.publish(f"{root}/dataset.json", content.encode())
    assert datasets.read_card(root) == CARD
