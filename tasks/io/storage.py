"""Storage: listing, reading and publishing of objects, for all data that must persist.

A URI is a local path or any that fsspec supports (gs://, s3://, memory://). A published object is complete or absent:
local files are written under a temporary name, synced and renamed; object stores get one put of the whole object.
Faults that can pass are retried (`storage_errors`); a read is checked against the size, if it is known.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.fs

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError, StorageError
from tasks.io import stored_objects
from tasks.io.atomic_write import part_file, remove_parts
from tasks.io.file_systems import is_local, open_file_system
from tasks.io.storage_errors import retrying, storage_errors
from tasks.io.stored_objects import StoredObject

PARALLEL_REQUESTS = 16
Item = TypeVar("Item")
Answer = TypeVar("Answer")


def join(uri: str, *parts: str) -> str:
    """Return the URI of a path below another URI."""
    root = uri if uri.endswith("://") else uri.rstrip("/") + "/"
    if uri.endswith(":///"):
        root = uri
    return root + "/".join(parts)


@retrying
def list_objects(uri: str, *, hidden: str = "") -> list[StoredObject]:
    """Return every object below a prefix, sorted by path; hidden files (a leading dot) are left out.

    Args:
        uri: The prefix.
        hidden: Name of hidden files to list.

    Raises:
        StorageError: If nothing exists at the prefix.
    """
    fs, root = open_file_system(uri)
    with storage_errors(uri, "list"):
        if not fs.exists(root):
            raise StorageError(_nothing_at(uri), can_pass=False)
        try:
            found: dict[str, dict[str, Any]] = fs.find(root, detail=True)
            elsewhere = stored_objects.elsewhere(root, found) if is_local(fs) and fs.isdir(root) else set()
            objects = [
                StoredObject.from_listing(
                    info,
                    uri=str(fs.unstrip_protocol(path)),
                    path=path[len(root.rstrip("/")) :].lstrip("/") or path.rsplit("/", 1)[-1],
                    is_elsewhere=path in elsewhere,
                )
                for path, info in found.items()
                if stored_objects.is_file(info)
            ]
        except FileNotFoundError as err:  # something went while it was listed
            raise StorageError(f"{shown_uri(uri)} changed while it was listed.") from err
    visible = [o for o in objects if not any(part.startswith(".") and part != hidden for part in o.path.split("/"))]
    return sorted(visible, key=lambda o: o.path)


@retrying
def is_file(uri: str) -> bool:
    """Return whether a URI is an object and no folder."""
    fs, path = open_file_system(uri)
    with storage_errors(uri, "look up"):
        return bool(fs.isfile(path))


@retrying
def list_names(uri: str) -> list[str]:
    """Return the names directly below a prefix, folders with a `/`; empty if there is nothing.

    Hidden files (a leading dot) are left out.
    """
    fs, root = open_file_system(uri)
    with storage_errors(uri, "list"):
        try:
            found: list[dict[str, Any]] = fs.ls(root, detail=True)
        except FileNotFoundError:
            return []
    names = {
        f"{info['name'].rstrip('/').rpartition('/')[2]}{'/' if info['type'] == 'directory' else ''}"
        for info in found
        if info["name"].rstrip("/") != root.rstrip("/")  # some stores list the folder in itself
    }
    return sorted(name for name in names if not name.startswith("."))


@retrying
def read_bytes(uri: str, *, size_bytes: int | None = None) -> bytes:
    """Return the content of an object.

    Args:
        uri: The object.
        size_bytes: Size as listed, to detect a truncated response.

    Raises:
        StorageError: If it does not exist, has another size, or the store does not answer.
    """
    fs, path = open_file_system(uri)
    with storage_errors(uri, "read"):
        content = bytes(fs.cat_file(path))
    if size_bytes is not None and len(content) != size_bytes:
        sentence = f"Could not read {shown_uri(uri)}: {len(content)} bytes came, {size_bytes} were listed."
        raise StorageError(sentence, code="changed")  # or its body was cut short on the way, each time
    return content


@retrying
def read_range(uri: str, start: int, n_bytes: int) -> bytes:
    """Return a range of bytes of an object; fewer only at its end.

    Raises:
        StorageError: If it does not exist or the store does not answer.
    """
    if not n_bytes:
        return b""
    fs, path = open_file_system(uri)
    with storage_errors(uri, "read"):
        return bytes(fs.cat_file(path, start=start, end=start + n_bytes))


def map_in_parallel(call: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Return the results of a call that waits for the store, for each item in order, in parallel."""
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        return list(pool.map(call, items))


def read_all(uris: list[str]) -> list[bytes]:
    """Return the content of many objects, read in parallel.

    Raises:
        StorageError: If one of them does not exist or the store does not answer.
    """
    return map_in_parallel(read_bytes, uris)


@retrying
def exists(uri: str) -> bool:
    """Return whether an object or a prefix with objects exists."""
    fs, path = open_file_system(uri)
    with storage_errors(uri, "look up"):
        return bool(fs.exists(path))


def require(uri: str) -> None:
    """Require that something exists at a URI that a parameter names.

    Raises:
        ConfigError: If nothing does.
        StorageError: If the store does not answer.
    """
    if not exists(uri):
        raise ConfigError(_nothing_at(uri))


def _nothing_at(uri: str) -> str:
    return f"Nothing exists at {shown_uri(uri)}. Check the path, and that this machine may read it."


@retrying
def publish(uri: str, content: bytes) -> str:
    """Write an object atomically, replacing an earlier one.

    Returns:
        sha256 of the content.

    Raises:
        StorageError: If the store refuses or does not answer.
    """
    fs, path = open_file_system(uri)
    with storage_errors(uri, "write"):
        if is_local(fs):
            with part_file(path, content) as part:
                part.replace(path)
        else:
            fs.pipe_file(path, content)
    return hashlib.sha256(content).hexdigest()


@retrying
def create(uri: str, content: bytes) -> bool:
    """Write an object atomically, unless one exists.

    Returns:
        False if another object exists, which is left unchanged. The same content counts as written, because a put whose
        response was lost is retried and finds itself; so content must name its writer if that matters.

    Raises:
        StorageError: If the store refuses or does not answer.
    """
    fs, path = open_file_system(uri)
    with storage_errors(uri, "create"):
        if is_local(fs):
            with part_file(path, content) as part:
                # a link, unlike a rename, fails where the name is taken
                is_new = _succeeds(lambda: Path(path).hardlink_to(part))
        else:
            is_new = _succeeds(lambda: fs.pipe_file(path, content, mode="create"))
        return is_new or bytes(fs.cat_file(path)) == content


@retrying
def remove(uri: str) -> None:
    """Remove an object, if it exists."""
    fs, path = open_file_system(uri)
    with storage_errors(uri, "remove"), contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def remove_if_empty(uri: str) -> None:
    """Remove a folder without files, which object stores do not have."""
    fs, path = open_file_system(uri)
    if is_local(fs):
        with contextlib.suppress(OSError):
            Path(path).rmdir()


def remove_temporary(uri: str) -> int:
    """Remove temporary files of killed writers below a prefix and return their number; nobody may write there.

    Object stores have none, because a put is atomic.
    """
    fs, path = open_file_system(uri)
    return remove_parts(path) if is_local(fs) else 0


@retrying
def remove_tree(uri: str) -> None:
    """Remove everything below a prefix, if it exists."""
    fs, path = open_file_system(uri)
    with storage_errors(uri, "remove"):
        if is_local(fs):
            with contextlib.suppress(FileNotFoundError):
                fs.rm(path, recursive=True)
            return
        found = fs.find(path)
    # one by one: `rm` would take brackets and stars in a name for a pattern
    map_in_parallel(lambda path: remove(str(fs.unstrip_protocol(path))), found)


def arrow_filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Return the file system of a URI for pyarrow, and the path in it, for Ray Train."""
    fs, path = open_file_system(uri)
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)), path


def _succeeds(create: Callable[[], None]) -> bool:
    """Return whether a create-only write succeeded."""
    try:
        create()
    except FileExistsError:
        return False
    except OSError as err:
        if "Precondition Failed" in str(err):  # s3fs, where the answer's body did not come whole
            return False
        raise
    return True
