"""The contract of every store, over every kind of root in `conftest.ROOTS`."""

import time
from collections.abc import Callable

import pytest

from tasks.core.errors import StorageError
from tasks.io import file_systems, storage
from tasks.io.stored_objects import fingerprint
from tests.io.stores import everything_below

SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


# ---- the contract of every store -----------------------------------------------------------------------------------


def test_publish_returns_the_digest_and_the_content_reads_back(root: str) -> None:
    """What was published is read back byte for byte, and its sha256 is handed out."""
    assert storage.publish(f"{root}/a/b.bin", b"abc") == SHA256_OF_ABC
    assert storage.read_bytes(f"{root}/a/b.bin") == b"abc"


def test_an_empty_object_is_an_object(root: str) -> None:
    """Zero bytes are published, listed and read like any other content."""
    storage.publish(f"{root}/empty", b"")
    assert storage.read_bytes(f"{root}/empty") == b""
    assert [(o.path, o.size_bytes) for o in storage.list_objects(root)] == [("empty", 0)]


def test_publish_replaces_the_whole_object(root: str) -> None:
    """A shorter content leaves nothing of the longer one it replaces."""
    storage.publish(f"{root}/card.json", b"a long first content")
    storage.publish(f"{root}/card.json", b"short")
    assert storage.read_bytes(f"{root}/card.json") == b"short"


def test_publish_and_create_leave_nothing_temporary(root: str) -> None:
    """After writing, exactly the named objects exist, hidden ones counted."""
    storage.publish(f"{root}/a", b"1")
    storage.publish(f"{root}/a", b"2")
    storage.create(f"{root}/b", b"1")
    storage.create(f"{root}/b", b"2")
    assert everything_below(root) == ["a", "b"]


def test_create_refuses_the_second_writer(root: str) -> None:
    """The first writer of a create-only object wins, and its content stays."""
    assert storage.create(f"{root}/ledger/entry.json", b"first")
    assert not storage.create(f"{root}/ledger/entry.json", b"second")
    assert storage.read_bytes(f"{root}/ledger/entry.json") == b"first"


def test_create_refuses_what_publish_wrote(root: str) -> None:
    """A create-only write never replaces a published object."""
    storage.publish(f"{root}/lock", b"held")
    assert not storage.create(f"{root}/lock", b"stolen")
    assert storage.read_bytes(f"{root}/lock") == b"held"


def test_listing_is_sorted_by_relative_path(root: str) -> None:
    """Objects are listed by path below the prefix, in the order of those paths, whatever the order of writing."""
    for path in ("b.png", "a/z.png", "a.png", "a/b/c.png", "a-1.png"):
        storage.publish(f"{root}/{path}", b"x")
    assert [o.path for o in storage.list_objects(root)] == ["a-1.png", "a.png", "a/b/c.png", "a/z.png", "b.png"]


def test_listing_gives_size_time_and_a_uri_that_reads_back(root: str) -> None:
    """A listed object has its size, a time of change of about now, and a full URI that reads it."""
    storage.publish(f"{root}/a/b.png", b"12345")
    [found] = storage.list_objects(root)
    assert found.size_bytes == 5
    assert found.modified_s == pytest.approx(time.time(), abs=60)
    assert "://" in found.uri
    assert storage.read_bytes(found.uri) == b"12345"
    assert found.uri == file_systems.absolute(f"{root}/a/b.png")


@pytest.mark.parametrize("hidden", [".DS_Store", "a/.hidden.png", ".git/config", "a/.part/b.png"])
def test_listing_hides_dot_files(root: str, hidden: str) -> None:
    """Neither hidden files nor files in hidden folders are listed."""
    storage.publish(f"{root}/{hidden}", b"x")
    storage.publish(f"{root}/a/seen.png", b"x")
    assert [o.path for o in storage.list_objects(root)] == ["a/seen.png"]


def test_listing_below_a_hidden_folder_shows_its_files(root: str) -> None:
    """Only what is hidden below the prefix is left out; the prefix itself may lie in a hidden folder."""
    storage.publish(f"{root}/.cache/lesions/a.png", b"x")
    assert [o.path for o in storage.list_objects(f"{root}/.cache/lesions")] == ["a.png"]


def test_listing_stays_inside_the_prefix(root: str) -> None:
    """A sibling whose name starts with the prefix's is not below it, with or without a trailing slash."""
    storage.publish(f"{root}/scans/a.png", b"x")
    storage.publish(f"{root}/scans-old/b.png", b"x")
    assert [o.path for o in storage.list_objects(f"{root}/scans")] == ["a.png"]
    assert [o.path for o in storage.list_objects(f"{root}/scans/")] == ["a.png"]


def test_listing_a_single_object_gives_its_name(root: str) -> None:
    """A URI of one object lists that object, by its name."""
    storage.publish(f"{root}/scans/a.png", b"x")
    assert [o.path for o in storage.list_objects(f"{root}/scans/a.png")] == ["a.png"]


def test_version_changes_with_the_content_only(root: str) -> None:
    """The version of an object stays while nobody writes, and changes when it is replaced, even by as many bytes."""
    storage.publish(f"{root}/a.png", b"1")
    first = storage.list_objects(root)
    assert storage.list_objects(root) == first
    time.sleep(0.02)  # a file system's clock ticks every few milliseconds
    storage.publish(f"{root}/a.png", b"2")
    second = storage.list_objects(root)
    assert second[0].version != first[0].version
    assert fingerprint(second) != fingerprint(first)


def test_exists_knows_objects_and_prefixes(root: str) -> None:
    """An object exists, so does a prefix with objects; anything else does not."""
    storage.publish(f"{root}/a/b.png", b"x")
    assert storage.exists(f"{root}/a/b.png")
    assert storage.exists(f"{root}/a")
    assert not storage.exists(f"{root}/a/c.png")
    assert not storage.exists(f"{root}/b")


@pytest.mark.parametrize(
    "action",
    [
        storage.list_objects,
        storage.read_bytes,
        lambda uri: storage.read_all([uri]),
        lambda uri: storage.read_all([uri, uri]),
    ],
    ids=["list", "read", "read one of many", "read twice"],
)
def test_missing_objects_give_a_storage_error(root: str, action: Callable[[str], object]) -> None:
    """Listing or reading what is not there gives a StorageError that names the URI and says it does not exist."""
    uri = f"{root}/nothing"
    with pytest.raises(StorageError, match="exist") as caught:
        action(uri)
    assert uri in str(caught.value)
    assert not caught.value.can_pass  # trying again brings nothing back


def test_read_all_keeps_the_order_asked_for(root: str) -> None:
    """Contents come back in the order of the URIs, a URI asked for twice twice, and none for none."""
    for name in ("a", "b", "c"):
        storage.publish(f"{root}/{name}", name.encode())
    assert storage.read_all([f"{root}/{name}" for name in ("c", "a", "b", "a")]) == [b"c", b"a", b"b", b"a"]
    assert storage.read_all([f"{root}/b"]) == [b"b"]
    assert storage.read_all([]) == []


def test_read_all_names_the_missing_object(root: str) -> None:
    """When one of many objects is missing, the error names that one."""
    storage.publish(f"{root}/here", b"x")
    with pytest.raises(StorageError, match="gone"):
        storage.read_all([f"{root}/here", f"{root}/gone"])


AWKWARD_NAMES = (
    "two words.png",
    "a#1.png",
    "what?.png",
    "50%.png",
    "Größe.png",
    "12:30.png",
    "[1].png",
    "a*.png",
    "{}",
)


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_a_name_is_only_a_name(root: str, name: str) -> None:
    """Characters that mean something to a shell, a URL or a pattern mean nothing in the name of an object."""
    storage.publish(f"{root}/{name}", b"content")
    [found] = storage.list_objects(root)
    assert found.path == name
    assert storage.read_bytes(found.uri) == b"content"
    assert storage.exists(found.uri)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name if name == "[1].png" else (),
        )
        for name in AWKWARD_NAMES
    ],
)
def test_read_all_takes_names_literally(root: str, name: str) -> None:
    """Many objects are read by name as one is: no name is a pattern."""
    storage.publish(f"{root}/{name}", b"content")
    storage.publish(f"{root}/other.png", b"other")
    assert storage.read_all([f"{root}/{name}", f"{root}/other.png"]) == [b"content", b"other"]


def test_two_colons_in_a_name_do_not_reach_another_object(root: str) -> None:
    """Publishing `a::b` writes that object, and leaves `a` as it was."""
    storage.publish(f"{root}/a", b"kept")
    storage.publish(f"{root}/a::b", b"new")
    assert storage.read_bytes(f"{root}/a") == b"kept"


def test_remove_tree_removes_what_is_below_and_nothing_else(root: str) -> None:
    """A prefix goes with all below it, hidden or not; its neighbours stay."""
    for path in ("slices/a/b", "slices/.c", "slices-old/a", "slice"):
        storage.publish(f"{root}/{path}", b"x")
    storage.remove_tree(f"{root}/slices")
    assert not storage.exists(f"{root}/slices")
    assert everything_below(root) == ["slice", "slices-old/a"]


def test_remove_tree_on_nothing_is_fine(root: str) -> None:
    """Removing what is not there does nothing, before and after something was."""
    storage.remove_tree(f"{root}/nothing")
    storage.publish(f"{root}/something/a", b"x")
    storage.remove_tree(f"{root}/something")
    storage.remove_tree(f"{root}/something")
    assert not storage.exists(f"{root}/something")


def test_arrow_sees_the_same_storage(root: str) -> None:
    """What pyarrow writes through the file system it is handed is read back here, and the other way round."""
    storage.publish(f"{root}/ours", b"from here")
    fs, path = storage.arrow_filesystem(root)
    with fs.open_output_stream(f"{path}/theirs") as stream:
        stream.write(b"from arrow")
    assert storage.read_bytes(f"{root}/theirs") == b"from arrow"
    with fs.open_input_stream(f"{path}/ours") as stream:
        assert stream.read() == b"from here"
