"""Whose an output is: nobody else's files are overwritten, and no output of a run is taken for scans."""

import json
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.io import storage
from tasks.io.outputs.ownership import (
    MANIFESTS,
    MARK,
    claim,
    is_part_of_output,
    is_written_by,
    outputs_among,
    require_ours,
    require_segmentation,
)
from tests.io.stores import put

OURS = {name: json.dumps(dict.fromkeys(keys, "")).encode() for name, keys in MANIFESTS.values()}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_an_empty_output_becomes_ours_and_stays_so(root: str, kind: str) -> None:
    """What is claimed while empty is ours whatever a killed run left in it, and its mark is in no listing."""
    uri = storage.join(root, "output")
    claim(uri, kind)  # type: ignore[arg-type]
    assert storage.list_names(uri) == []
    put(uri, "index/half.json", "masks/a.png")
    claim(uri, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_finished_output_is_ours_for_its_own_kind_alone(root: str, kind: str) -> None:
    """Our manifest makes an output ours, also from before there was a mark; for another kind it is refused by name."""
    name, _ = MANIFESTS[kind]  # type: ignore[index]
    storage.publish(storage.join(root, name), OURS[name])
    put(root, "more/a.png")
    require_ours(root, kind)  # type: ignore[arg-type]
    for other in MANIFESTS.keys() - {kind}:
        with pytest.raises(ConfigError, match=f"is the {kind} of another run"):
            require_ours(root, other)


LEASE = ("lease/00000001.json", b'{"run_id": "r", "heartbeat_at": "2026"}')
ENTRY = ("ledger/20260101T000000000000Z-ab/a.json", b'{"scan_id": "a", "reader_version": "3"}')
TABLE = ("ledger/20260101T000000000000Z-ab.parquet", b"PAR1 and more")
MANIFEST = ("manifest.json", OURS["manifest.json"])
JUNK = b"not ours"


@pytest.mark.parametrize(("path", "content"), [LEASE, ENTRY, TABLE])
def test_a_run_that_never_ended_is_ours(root: str, path: str, content: bytes) -> None:
    """Ledger or lease of a segmentation make its output ours; what only lies in a folder called so does not."""
    put(root, "masks/a.png")
    storage.publish(f"{root}/{path}", JUNK)
    put(root, "ledger/2024.xlsx", "lease/contract.pdf")
    with pytest.raises(ConfigError, match="no run of ours wrote"):
        require_ours(root, "segmentation")
    storage.publish(f"{root}/{path}", content)
    require_ours(root, "segmentation")


def test_what_a_job_was_asked_is_no_output_yet(root: str) -> None:
    """The folder of a first run's job does not stand in its own way."""
    put(root, "jobs/1-segment-1/request.json")
    claim(root, "segmentation")
    assert MARK in {o.path for o in storage.list_objects(root, hidden=MARK)}


def test_a_file_is_no_output(root: str) -> None:
    """An output that is a file is refused with a sentence, not by what the store says of it."""
    put(root, "file.txt")
    with pytest.raises(ConfigError, match="is a file"):
        require_ours(f"{root}/file.txt", "segmentation")


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["frames/a.png", "masks/a.png"], r"\(frames/, masks/\)"),
        (["Mueller_Hans.png", "b.png", "Mueller_Hans/c.png"], r"\(2 \.png files, 1 folder\)"),
        (["manifest.json", "a.txt"], r"\(1 \.json file, 1 \.txt file\)"),
    ],
)
def test_what_no_run_of_ours_wrote_is_never_written_to(root: str, paths: list[str], found: str) -> None:
    """The refusal says what lies there, by known names and counts; a foreign manifest.json makes nothing ours."""
    put(root, *paths)
    with pytest.raises(ConfigError, match=found) as caught:
        claim(root, "segmentation")
    assert "Mueller" not in str(caught.value)
    assert "remove" not in str(caught.value)
    assert {o.path for o in storage.list_objects(root)} == set(paths)


def test_outputs_are_found_among_other_objects(root: str) -> None:
    """A folder that holds a mark, manifest, lease or ledger of ours is one; foreign files of these names make none."""
    for folder, (path, content) in zip("abcd", (MANIFEST, LEASE, ENTRY, TABLE), strict=True):
        storage.publish(f"{root}/{folder}/{path}", content)
        storage.publish(f"{root}/foreign {folder}/{path}", JUNK)
    claim(f"{root}/e", "evaluation")
    put(root, "a.png")
    assert outputs_among(storage.list_objects(root, hidden=MARK)) == {"a/", "b/", "c/", "d/", "e/"}


def test_only_what_a_run_writes_is_part_of_its_output() -> None:
    """What somebody laid into an output's folder stays theirs."""
    assert is_written_by("night/", "night/masks/a.png")
    assert is_written_by("model/", "model/model_card.md")
    assert is_written_by("data/", "data/dataset_card.md")
    assert is_written_by("night/", "night/report.html")
    assert is_written_by("", "previews/a.png")
    assert is_written_by("model/", "model/folds/0/model.weights.h5")
    assert is_written_by("model/", "model/checkpoints/0a/epoch-1.npz")
    assert not is_written_by("night/", "night/scan.nii.gz")
    assert not is_written_by("night/", "night/ward/scan.png")
    assert not is_written_by("night/", "other/masks/a.png")


@pytest.mark.parametrize("content", [MANIFEST, LEASE])
def test_masks_of_a_segmentation_are_no_scans(root: str, content: tuple[str, bytes]) -> None:
    """The masks of a finished or a begun run are told from a folder of that name elsewhere."""
    put(root, "elsewhere/masks/a.png", "night/masks/a.png")
    storage.publish(f"{root}/night/{content[0]}", content[1])
    assert is_part_of_output(f"{root}/night/masks")
    assert is_part_of_output(f"{root}/night/previews/")
    assert not is_part_of_output(f"{root}/elsewhere/masks")
    assert not is_part_of_output(f"{root}/night")


def test_masks_are_told_through_links(tmp_path: Path) -> None:
    """A link to the masks of a run is as little a collection as they are."""
    storage.publish(str(tmp_path / "night" / "manifest.json"), OURS["manifest.json"])
    (tmp_path / "night" / "masks").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "night" / "masks")
    assert is_part_of_output(str(tmp_path / "link"))


def test_a_folder_that_is_no_segmentation_names_the_one_that_was_meant(root: str) -> None:
    """The output below a parent, the output that a folder is of, and what else is there; an output itself is taken."""
    meant = storage.join(root, "out", "segmentation")
    storage.publish(storage.join(meant, "manifest.json"), OURS["manifest.json"])
    put(root, "out/segmentation/masks/a.png", "out/dataset/slices/a.parquet")
    require_segmentation(meant)
    for wrong in (storage.join(root, "out"), storage.join(meant, "masks")):
        with pytest.raises(ConfigError, match=r"holds no manifest\.json.* Did you mean .*out/segmentation\?"):
            require_segmentation(wrong)
    storage.publish(storage.join(root, "out", "dataset", "dataset.json"), OURS["dataset.json"])
    with pytest.raises(ConfigError, match=r"is the dataset of another run\. Name the output of `lesions segment`"):
        require_segmentation(storage.join(root, "out", "dataset"))
    with pytest.raises(ConfigError, match="Nothing exists at"):
        require_segmentation(storage.join(root, "nowhere"))
