"""Packings of archives: by suffix at listing, by content when an archive is opened."""

from typing import Final, Literal

Packing = Literal["tar", "tgz", "tbz", "txz", "zip"]
PACKINGS: Final[dict[str, Packing]] = {
    ".tar": "tar",
    ".tgz": "tgz",
    ".tar.gz": "tgz",
    ".tbz": "tbz",
    ".tbz2": "tbz",
    ".tar.bz2": "tbz",
    ".txz": "txz",
    ".tar.xz": "txz",
    ".zip": "zip",
}
"""Packing of an archive by suffix."""

SHOWN_PACKINGS: Final = "zip, tar, tar.gz, tar.bz2, tar.xz"

_MAGICS: Final[dict[bytes, Packing]] = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # an empty one
    b"\x1f\x8b": "tgz",
    b"BZh": "tbz",
    b"\xfd7zXZ\0": "txz",
}
_UNREAD_MAGICS: Final = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar", b"\x28\xb5\x2f\xfd": "zstd"}
_TAR_MAGIC: Final = b"ustar"
_TAR_MAGIC_AT: Final = 257

SNIFFED_BYTES: Final = 512
"""First bytes of an archive, which show its packing: a header of a tar."""


def packing_of(path: str) -> Packing | None:
    """Return the packing of an archive by its name; None if it is no archive."""
    name = path.lower()
    if not name.endswith(tuple(PACKINGS)):
        return None
    return next((packing for suffix, packing in PACKINGS.items() if name.endswith(suffix)), None)


def packing_in(head: bytes) -> Packing | None:
    """Return the packing that the first bytes of a file show; None if they show none that is read."""
    if head[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC):
        return "tar"
    return next((packing for magic, packing in _MAGICS.items() if head.startswith(magic)), None)


def unread_packing_in(head: bytes) -> str | None:
    """Return the name of a packing that is not read, if the first bytes of a file show one."""
    return next((name for magic, name in _UNREAD_MAGICS.items() if head.startswith(magic)), None)
