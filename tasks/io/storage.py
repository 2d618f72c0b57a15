"""Every byte that must last goes through here: list, read, publish. The only importer of fsspec.

A URI is a local path or anything fsspec knows (gs://, s3://, memory://). A published object is whole or absent: local
files are written under a temporary name, synced and renamed; object stores get one put of the whole object.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs
from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

from tasks.core.errors import ConfigError, StorageError

PARALLEL_READS = 16


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A listed object.

    Attributes:
        uri: Full URI, with its scheme.
        path: Path relative to the listed prefix, with `/`.
        size_bytes: Size.
        version: What changes when the content does: etag, generation, or size and modification time in ns.
        modified_s: Time of the last change, seconds since the epoch; None where the store does not say.
    """

    uri: str
    path: str
    size_bytes: int
    version: str
    modified_s: float | None


def absolute(uri: str) -> str:
    """Return the URI with its scheme; a local path becomes absolute (`file:///…`).

    Raises:
        ConfigError: If the protocol is unknown or its package is not installed.
    """
    fs, path = _resolve(uri)
    if isinstance(fs, LocalFileSystem):
        path = os.path.normpath(path)
    return str(fs.unstrip_protocol(path))


def is_relative(uri: str) -> bool:
    """Say whether the URI is a local path that depends on the working folder."""
    protocol, path = split_protocol(uri)
    return protocol in (None, "file", "local") and not Path(path).is_absolute()


def join(uri: str, *parts: str) -> str:
    """Return the URI of something below another."""
    root = uri if uri.endswith("://") else uri.rstrip("/") + "/"
    if uri.endswith(":///"):
        root = uri
    return root + "/".join(parts)


def list_objects(uri: str) -> list[StoredObject]:
    """Return every object below a prefix, sorted by path; hidden files (a leading dot) are left out.

    Raises:
        StorageError: If nothing exists at the prefix.
    """
    fs, root = _resolve(uri)
    with _storage_errors(uri, "list"):
        if not fs.exists(root):
            raise StorageError(
                f"Nothing exists at {uri}. Check the path, and that this machine may read it.", can_pass=False
            )
        found: dict[str, dict[str, Any]] = fs.find(root, detail=True)
        root = root.rstrip("/")
        objects = [
            StoredObject(
                uri=str(fs.unstrip_protocol(path)),
                path=path[len(root) :].lstrip("/") or path.rsplit("/", 1)[-1],
                size_bytes=int(info["size"] or 0),
                version=_version(info),
                modified_s=_modified_s(info),
            )
            for path, info in found.items()
            if _is_file(info)
        ]
    visible = [o for o in objects if not any(part.startswith(".") for part in o.path.split("/"))]
    return sorted(visible, key=lambda o: o.path)


def fingerprint(objects: list[StoredObject]) -> str:
    """Return the sha256 over the sorted URIs and versions: it changes when any object's content does."""
    lines = sorted(f"{o.uri}\t\t{o.version}" for o in objects)  # the empty column is the archive member's
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_bytes(uri: str) -> bytes:
    """Return the content of an object.

    Raises:
        StorageError: If it does not exist or the store does not answer.
    """
    fs, path = _resolve(uri)
    with _storage_errors(uri, "read"):
        return bytes(fs.cat_file(path))


def read_all(uris: list[str]) -> list[bytes]:
    """Return the content of many objects, several at a time.

    Raises:
        StorageError: If one of them does not exist or the store does not answer.
    """
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        return list(pool.map(read_bytes, uris))


def exists(uri: str) -> bool:
    """Say whether an object or a prefix with objects exists."""
    fs, path = _resolve(uri)
    with _storage_errors(uri, "look up"):
        return bool(fs.exists(path))


def publish(uri: str, content: bytes) -> str:
    """Write an object whole, replacing what was there.

    Returns:
        sha256 of the content.

    Raises:
        StorageError: If the store refuses or does not answer.
    """
    fs, path = _resolve(uri)
    with _storage_errors(uri, "write"):
        if isinstance(fs, LocalFileSystem):
            with _part_file(path, content) as part:
                part.replace(path)
        else:
            fs.pipe_file(path, content)
    return hashlib.sha256(content).hexdigest()


def create(uri: str, content: bytes) -> bool:
    """Write an object whole, but only if none is there.

    Returns:
        False if something was there, which is then left as it was.

    Raises:
        StorageError: If the store refuses or does not answer.
    """
    fs, path = _resolve(uri)
    with _storage_errors(uri, "create"):
        if isinstance(fs, LocalFileSystem):
            with _part_file(path, content) as part:
                # a link, unlike a rename, fails where the name is taken
                return _succeeds(lambda: Path(path).hardlink_to(part))
        return _succeeds(lambda: fs.pipe_file(path, content, mode="create"))


def remove_tree(uri: str) -> None:
    """Remove everything below a prefix; nothing happens where nothing is."""
    fs, path = _resolve(uri)
    with _storage_errors(uri, "remove"), contextlib.suppress(FileNotFoundError):
        if isinstance(fs, LocalFileSystem):
            fs.rm(path, recursive=True)
        else:  # one by one: `rm` would take brackets and stars in a name for a pattern
            for found in fs.find(path):
                fs.rm_file(found)


def arrow_filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Return this storage as pyarrow sees it, and the path in it: for Ray Train's checkpoints."""
    fs, path = _resolve(uri)
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)), path


def _resolve(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of a URI and the path in it.

    Not through `fsspec.core.url_to_fs`, which takes `::` in a name for a chain of file systems. fsspec caches
    instances by process, so that a forked or spawned worker makes its own (gcsfs#379).
    """
    protocol = split_protocol(uri)[0] or "file"
    try:
        kind = fsspec.get_filesystem_class(protocol)
        fs = fsspec.filesystem(protocol, use_listings_cache=False, **kind._get_kwargs_from_urls(uri))
    except (ValueError, ImportError) as err:
        raise ConfigError(f"Cannot open {uri}: {err}") from err
    return fs, str(kind._strip_protocol(uri))


@contextlib.contextmanager
def _part_file(path: str, content: bytes) -> Iterator[Path]:
    """Hold a synced temporary file beside `path`; hidden, so that no listing shows it, and gone afterwards."""
    folder = Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as err:
        raise NotADirectoryError(f"{folder} is a file") from err
    part = folder / f".{uuid.uuid4().hex}.part"
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def _succeeds(create: Callable[[], None]) -> bool:
    """Say whether a create-only write found the name free."""
    try:
        create()
    except FileExistsError:
        return False
    return True


def _is_file(info: dict[str, Any]) -> bool:
    """Say whether a listed entry is a file, or a local link to one."""
    return bool(info["type"] == "file" or (info.get("islink") and Path(info["name"]).is_file()))


def _version(info: dict[str, Any]) -> str:
    for key in ("etag", "ETag", "generation"):
        if info.get(key):
            return str(info[key]).strip('"')
    if "ino" in info:  # local: mtime in whole nanoseconds, which the float in `info` cannot hold
        return f"{info['size']}:{Path(info['name']).stat().st_mtime_ns}"
    return f"{info['size']}:{info.get('created') or info.get('mtime')}"


def _modified_s(info: dict[str, Any]) -> float | None:
    value = info.get("mtime") or info.get("LastModified") or info.get("updated") or info.get("created")
    if value is None:
        return None
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.timestamp() if isinstance(value, datetime) else float(value)


@contextlib.contextmanager
def _storage_errors(uri: str, verb: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as err:
        raise StorageError(f"Could not {verb} {uri}: it does not exist.", can_pass=False) from err
    except PermissionError as err:
        raise StorageError(
            f"Could not {verb} {uri}: no permission. Check the credentials of this machine.", can_pass=False
        ) from err
    except Exception as err:  # each store has errors of its own: aiohttp's, gcsfs's, botocore's
        raise StorageError(f"Could not {verb} {uri}: {type(err).__name__}: {err}") from err
