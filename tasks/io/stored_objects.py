"""Objects as listed by a store, with the version of their content."""

import hashlib
from collections.abc import Iterable
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
    """

    uri: str
    path: str
    size_bytes: int
    version: str
    modified_s: float | None

    @classmethod
    def from_listing(cls, info: dict[str, Any], *, uri: str, path: str) -> Self:  # Any: entry of fsspec
        """Return the object of an entry in a listing."""
        return cls(uri, path, size_bytes=int(info["size"] or 0), version=_version(info), modified_s=_modified_s(info))


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


def is_file(info: dict[str, Any]) -> bool:
    """Return whether a listed entry is a file, or a local link to one."""
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
