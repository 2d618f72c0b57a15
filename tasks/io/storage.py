"""Every byte that must last goes through here: list, read, publish. The only importer of fsspec.

A URI is a local path or anything fsspec knows (gs://, s3://, memory://). A published object is whole or absent: local
files are written under a temporary name, synced and renamed; object stores get one put of the whole object.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs
from fsspec.implementations.local import LocalFileSystem

from tasks.core.errors import ConfigError, StorageError


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
    return "://" not in uri and not Path(uri).is_absolute()


def join(uri: str, *parts: str) -> str:
    """Return the URI of something below another."""
    return "/".join([uri.rstrip("/"), *parts])


def list_objects(uri: str) -> list[StoredObject]:
    """Return every object below a prefix, sorted by path; hidden files (a leading dot) are left out.

    Raises:
        StorageError: If nothing exists at the prefix.
    """
    fs, root = _resolve(uri)
    with _storage_errors(uri, "list"):
        if not fs.exists(root):
            raise StorageError(f"Nothing exists at {uri}. Check the path, and that this machine may read it.")
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
        if info["type"] == "file"
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
    """Return the content of many objects, fetched at once where the store can.

    Raises:
        StorageError: If one of them does not exist or the store does not answer.
    """
    if not uris:
        return []
    fs, _ = _resolve(uris[0])
    paths = [_resolve(uri)[1] for uri in uris]
    with _storage_errors(uris[0], "read"):
        contents = fs.cat(paths)
    return [contents[path] for path in paths] if isinstance(contents, dict) else [contents]


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
            part = _write_part(path, content)
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
    try:
        with _storage_errors(uri, "create"):
            if isinstance(fs, LocalFileSystem):
                part = _write_part(path, content)
                try:
                    os.link(part, path)  # a link, unlike a rename, fails where the name is taken
                finally:
                    part.unlink()
            else:
                fs.pipe_file(path, content, mode="create")
    except FileExistsError:
        return False
    return True


def remove_tree(uri: str) -> None:
    """Remove everything below a prefix; nothing happens where nothing is."""
    fs, path = _resolve(uri)
    with _storage_errors(uri, "remove"), contextlib.suppress(FileNotFoundError):
        fs.rm(path, recursive=True)


def arrow_filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Return this storage as pyarrow sees it, and the path in it: for Ray Train's checkpoints."""
    fs, path = _resolve(uri)
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)), path


def _resolve(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    # fsspec caches the file system by process, so that a forked or spawned worker makes its own (gcsfs#379).
    try:
        fs, path = fsspec.core.url_to_fs(uri, use_listings_cache=False)
    except (ValueError, ImportError) as err:
        raise ConfigError(f"Cannot open {uri}: {err}") from err
    return fs, path


def _write_part(path: str, content: bytes) -> Path:
    """Write a synced temporary file beside `path` and return its name; hidden, so that no listing shows it."""
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{uuid.uuid4().hex}.part"
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


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
    except (FileExistsError, StorageError):
        raise
    except FileNotFoundError as err:
        raise StorageError(f"Could not {verb} {uri}: it does not exist.") from err
    except PermissionError as err:
        raise StorageError(f"Could not {verb} {uri}: no permission. Check the credentials of this machine.") from err
    except OSError as err:
        raise StorageError(f"Could not {verb} {uri}: {type(err).__name__}: {err}") from err
