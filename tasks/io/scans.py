"""The scans below a URI: one file, one slice, for now; what is not an image of a known type is not a scan."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

from tasks.io import storage
from tasks.io.formats import READERS, suffix_of
from tasks.io.stored_objects import fingerprint


@dataclass(frozen=True, slots=True)
class ScanSource:
    """A scan as listed.

    Attributes:
        scan_id: Relative path without suffix, `/` as `__`; a hash is added only where two scans would share it.
        uri: Where its bytes lie.
        fingerprint: Changes when the content does.
        size_bytes: As listed.
        modified_s: Time of its last change, seconds since the epoch; None where the store does not say.
    """

    scan_id: str
    uri: str
    fingerprint: str
    size_bytes: int
    modified_s: float | None


def list_scans(uri: str) -> list[ScanSource]:
    """Return every scan below a URI, sorted by `scan_id`.

    Raises:
        StorageError: If nothing exists there.
    """
    found = [o for o in storage.list_objects(uri) if suffix_of(o.path) in READERS]
    claims = Counter(_plain_id(o.path) for o in found)
    scans = [
        ScanSource(
            scan_id=_plain_id(o.path) if claims[_plain_id(o.path)] == 1 else _hashed_id(o.path),
            uri=o.uri,
            fingerprint=fingerprint([o]),
            size_bytes=o.size_bytes,
            modified_s=o.modified_s,
        )
        for o in found
    ]
    return sorted(scans, key=lambda scan: scan.scan_id)


def _plain_id(path: str) -> str:
    return str(PurePosixPath(path).with_suffix("")).replace("/", "__")


def _hashed_id(path: str) -> str:
    return f"{_plain_id(path)}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
