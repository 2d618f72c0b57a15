"""Whose an output is: nobody else's files are overwritten, and no output of a run is taken for scans."""

import json

import pytest

from tasks.core.errors import ConfigError
from tasks.io import storage
from tasks.io.own_outputs import MANIFESTS, claim, is_part_of_output, outputs_among, require_ours
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


@pytest.mark.parametrize("path", ["ledger/20260101T000000000000Z-local.parquet", "lease/00000001.json"])
def test_a_run_that_never_ended_is_ours(root: str, path: str) -> None:
    """Ledger or lease of a segmentation make its output ours."""
    put(root, path, "masks/a.png")
    require_ours(root, "segmentation")


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["frames/a.png", "masks/a.png"], r"frames/, masks/"),
        (["Mueller_Hans.png", "b.png", "Mueller_Hans/c.png"], r"2 files \.png, 1 folders"),
        (["manifest.json", "a.txt"], r"1 files \.json, 1 files \.txt"),
    ],
)
def test_what_no_run_of_ours_wrote_is_never_written_to(root: str, paths: list[str], found: str) -> None:
    """The refusal says what lies there, by known names and counts; a foreign manifest.json makes nothing ours."""
    put(root, *paths)
    with pytest.raises(ConfigError, match=found) as caught:
        claim(root, "segmentation")
    assert "Mueller" not in str(caught.value)
    assert {o.path for o in storage.list_objects(root)} == set(paths)


def test_outputs_are_found_among_other_objects(root: str) -> None:
    """Each folder that holds a manifest, lease or ledger of ours is one; a foreign file of the same name makes none."""
    name, _ = MANIFESTS["segmentation"]
    storage.publish(f"{root}/night/{name}", OURS[name])
    put(
        root,
        "a.png",
        "foreign/manifest.json",
        "killed/ledger/20260101T000000000000Z-ab/a.json",
        "b/lease/00000003.json",
    )
    assert outputs_among(storage.list_objects(root)) == {"night/", "killed/", "b/"}
    put(root, "lease/00000001.json")
    assert "" in outputs_among(storage.list_objects(root))


def test_masks_of_a_segmentation_are_no_scans(root: str) -> None:
    """The masks and previews below a manifest are told from a folder of that name elsewhere."""
    name, _ = MANIFESTS["segmentation"]
    put(root, "elsewhere/masks/a.png", "night/masks/a.png")
    storage.publish(f"{root}/night/{name}", OURS[name])
    assert is_part_of_output(f"{root}/night/masks")
    assert is_part_of_output(f"{root}/night/masks/")
    assert not is_part_of_output(f"{root}/elsewhere/masks")
    assert not is_part_of_output(f"{root}/night")
