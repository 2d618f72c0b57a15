"""Objects as listed by a store, with the version of their content."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Object as listed by a store.

    Attributes:
        uri: Full URI, with its scheme.
        path: Path relative to the listed prefix, with `/`.
        size_bytes: Size.
        version: Text that changes with the content: etag, generation, or size and modification time in ns.
        modified_s: Time of the last change, seconds since the epoch; None if the store has none.
        is_elsewhere: Whether it is a link that leaves the listed folder, or that leads to a folder.
    """

    uri: str
    path: str
    size_bytes: int
    version: str
    modified_s: float | None
    is_elsewhere: bool = False

    @classmethod
    def from_listing(
        cls,
        info: dict[str, Any],  # Any: entry of fsspec
        *,
        uri: str,
        path: str,
        is_elsewhere: bool = False,
    ) -> Self:
        """Return the object of an entry in a listing."""
        return cls(uri, path, int(info["size"] or 0), _version(info), _modified_s(info), is_elsewhere)


def fingerprint(objects: Iterable[StoredObject]) -> str:
    """Return the SHA-256 of the sorted URIs and versions; it changes when any content does."""
    lines = sorted(f"{o.uri}\t\t{o.version}" for o in objects)  # the empty column is the archive member's
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def is_utf8(text: str) -> bool:
    """Return whether a name is valid UTF-8; a disk may hold others."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def elsewhere(root: str, found: Mapping[str, Mapping[str, Any]]) -> set[str]:  # Any: as above
    """Return the paths of local links that leave a folder or lead to one, and of what lies below such links."""
    top, folders = os.path.realpath(root), {path.rpartition("/")[0] for path in found}
    real = {folder: os.path.realpath(folder) for folder in folders}
    inside = {folder for folder, path in real.items() if os.path.commonpath([top, path]) == top}
    return {
        path
        for path, info in found.items()
        if path.rpartition("/")[0] not in inside
        or (info.get("islink") and (Path(path).is_dir() or os.path.commonpath([top, os.path.realpath(path)]) != top))
    }


def is_file(info: dict[str, Any]) -> bool:
    """Return whether a listed entry is a file, or a local link to one or to a folder, which is not walked."""
    return bool(info["type"] == "file" or (info.get("islink") and Path(info["name"]).exists()))


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
