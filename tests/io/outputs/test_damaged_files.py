"""Files of a bundle and of a dataset that are damaged: each is named in one sentence with what to do."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.core.catalog import SPLITS
from tasks.core.errors import LesionWorkflowError
from tasks.io import storage
from tasks.io.outputs import bundles, datasets
from tests.core.samples import DUPLICATE
from tests.io.outputs.test_bundles import IMAGE, PROBABILITY, WEIGHTS, _card
from tests.io.outputs.test_datasets import CARD, CASE, FAILURE, _slice
from tests.stages.test_damaged_output import DAMAGE

PIXELS = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
"""Too many to be in a page of one's own metadata."""


def _bundle(uri: str) -> Callable[[], str]:
    """Write a bundle; return what reads all of it."""
    files = {
        bundles.WEIGHTS_FILE: WEIGHTS,
        bundles.SELF_TEST_FILE: bundles.SelfTest.from_probability(IMAGE, PROBABILITY).to_bytes(),
        bundles.HISTORY_FILE: b"epoch,val_dice\n1,0.25\n2,\n",
        "curves/dice.png": b"picture" * 20,
    }
    bundles.publish_card(uri, _card(bundles.publish_files(uri, files)))
    return lambda: repr((bundles.read_bundle(uri), bundles.read_curves(uri, bundles.read_card(uri))))


def _dataset(uri: str) -> Callable[[], str]:
    """Write a dataset; return what reads all of it."""
    datasets.write_shard(datasets.shard_uri(uri, "train", "00000"), [_slice(0, PIXELS), _slice(1, PIXELS)])
    datasets.write_shard(datasets.shard_uri(uri, "val", "00000"), [_slice(2, PIXELS)])
    datasets.publish_dataset(uri, CARD, cases=[CASE], failures=[FAILURE], duplicates=[DUPLICATE])

    def read() -> str:
        card = datasets.read_card(uri)
        datasets.require_whole(uri, card, SPLITS)
        shards = [shard for split in ("train", "val") for shard in datasets.list_shards(uri, split)]  # type: ignore[arg-type]
        slices = [datasets.read_shard(shard) for shard in shards]
        with np.printoptions(threshold=10**6):
            return repr((card, datasets.read_cases(uri), datasets.read_failures(uri), slices))

    return read


FILES = {
    "model.json": _bundle,
    bundles.WEIGHTS_FILE: _bundle,
    bundles.SELF_TEST_FILE: _bundle,
    "curves/dice.png": _bundle,
    "dataset.json": _dataset,
    "cases.parquet": _dataset,
    "failures.parquet": _dataset,
    "slices/split=train/00000.parquet": _dataset,
    "slices/split=val/00000.parquet": _dataset,
}


def _flip_in_the_middle(content: bytes) -> bytes:
    """Flip a bit inside; in a card, of its structure: a flipped digit or key of its JSON is not noticed."""
    middle = len(content) // 2
    if content.startswith(b"{"):
        middle = content.index(b'": ', middle)
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [*DAMAGE, "flipped inside", "removed"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, name: str, damage: str) -> None:
    """Cut, emptied, with a bit flipped, replaced or gone: an error of ours in one line, and never other content."""
    read = FILES[name](tmp_path.as_uri())
    undamaged = read()
    path = tmp_path / name
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes((DAMAGE | {"flipped inside": _flip_in_the_middle})[damage](path.read_bytes()))
    try:
        assert read() == undamaged
    except LesionWorkflowError as err:
        sentence = str(err)
    else:
        assert damage == "flipped inside", "taken for what it was"
        return  # of statistics that nobody reads
    assert name.removesuffix("/00000.parquet" if damage == "removed" else "") in sentence
    assert re.search(r"(?i)prepare|train|restore|check the path", sentence), sentence
    assert len(sentence.splitlines()) == 1


def test_a_shard_of_something_else_is_refused(tmp_path: Path) -> None:
    """Another table of ours in its place."""
    read = _dataset(tmp_path.as_uri())
    shard = tmp_path / "slices" / "split=val" / "00000.parquet"
    shard.write_bytes((tmp_path / "cases.parquet").read_bytes())
    with pytest.raises(LesionWorkflowError, match="holds no slices"):
        read()


def test_files_from_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    """What earlier versions wrote has none."""
    import pyarrow.parquet as pq

    read = _dataset(tmp_path.as_uri())
    for path in tmp_path.rglob("*.parquet"):
        buffer = io.BytesIO()
        pq.write_table(pq.read_table(io.BytesIO(path.read_bytes())), buffer, compression="zstd")
        path.write_bytes(buffer.getvalue())
    read()
    assert storage.exists(tmp_path.as_uri())
