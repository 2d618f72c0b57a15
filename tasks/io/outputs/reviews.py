"""Review of a segmentation on storage: verdicts and corrections that are put in, and packages, labels and tables.

It lies in `review/` of the segmentation. People write to `verdicts.csv` and `corrections/`, reviews to all else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeVar

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError, StorageError
from tasks.core.rows import CorrectionRow, PackageRow, VerdictRow
from tasks.core.volumes import Layout
from tasks.io import storage
from tasks.io.other_files import HIDDEN, kind_of_other
from tasks.io.record_files import read_table
from tasks.io.stored_objects import StoredObject
from tasks.io.tables import to_parquet

FOLDER: Final = "review"
VERDICTS_FILE: Final = "verdicts.csv"
CORRECTIONS_FOLDER: Final = "corrections"
PACKAGES_FOLDER: Final = "packages"
ACCEPTED_FOLDER: Final = "accepted"
MAX_VERDICTS_BYTES: Final = 64 << 20
"""Largest verdicts.csv: half a million lines."""
AGREEMENT_FILE: Final = "agreement.csv"
VIEWER_FILE: Final = "viewer.html"
CORRECTIONS_TABLE: Final = "corrections.parquet"

IMAGE_FILE: Final = "image.nii.gz"
MASK_FILE: Final = "mask.nii.gz"
PNG_MASK_FILE: Final = "mask.png"
DICOM_SEG_FILE: Final = "segmentation.dcm"
README_FILE: Final = "README.txt"

_TABLES: Final[dict[type[VerdictRow | PackageRow | CorrectionRow], str]] = {
    VerdictRow: "verdicts.parquet",
    PackageRow: "packages.parquet",
    CorrectionRow: CORRECTIONS_TABLE,
}
Row = TypeVar("Row", VerdictRow, PackageRow, CorrectionRow)


@dataclass(frozen=True, slots=True)
class Tables:
    """Tables of a review."""

    verdicts: Sequence[VerdictRow]
    packages: Sequence[PackageRow]
    corrections: Sequence[CorrectionRow]


def folder_uri(output_uri: str) -> str:
    """Return the URI of the review of a segmentation."""
    return storage.join(output_uri, FOLDER)


def package_uri(output_uri: str, scan_id: str, name: str) -> str:
    """Return the URI of a file in the package of a scan."""
    return storage.join(output_uri, FOLDER, PACKAGES_FOLDER, scan_id, name)


def label_uris(output_uri: str, scan_id: str, layout: Layout, n_slices: int = 1) -> list[tuple[str, str]]:
    """Return the URIs of image and mask of an accepted correction: a volume, or slices of a scan without position."""
    if layout in ("volume", "series"):
        names = [(IMAGE_FILE, MASK_FILE)]
    else:
        names = [(f"image_{number:04d}.png", f"mask_{number:04d}.png") for number in range(n_slices)]
    folder = storage.join(output_uri, FOLDER, ACCEPTED_FOLDER, scan_id)
    return [(storage.join(folder, image), storage.join(folder, mask)) for image, mask in names]


def label_digest(masks: Iterable[bytes]) -> str:
    """Return the digest of the label of a scan, made of those of its mask files."""
    return sha256(b"".join(sha256(mask).digest() for mask in masks)).hexdigest()


def intact_label(output_uri: str, row: CorrectionRow) -> list[str] | None:
    """Return the digest of each mask file of an accepted correction; None if they are not those that were accepted.

    Raises:
        StorageError: If the store does not answer.
    """
    uris = label_uris(output_uri, row.scan_id, row.layout or "volume", len(row.source_uris))
    try:
        masks = [storage.read_bytes(mask_uri) for _, mask_uri in uris]
    except StorageError as err:
        if err.can_pass:
            raise
        return None
    if not all(storage.exists(image_uri) for image_uri, _ in uris) or label_digest(masks) != row.label_sha256:
        return None
    return [sha256(mask).hexdigest() for mask in masks]


def find_verdicts(output_uri: str) -> bytes | None:
    """Return the content of the verdicts.csv that was put in, or None without one.

    Raises:
        ConfigError: If it is larger than any export is.
    """
    uri = storage.join(output_uri, FOLDER, VERDICTS_FILE)
    if not storage.exists(uri):
        return None
    content = storage.read_range(uri, 0, MAX_VERDICTS_BYTES + 1)
    if len(content) > MAX_VERDICTS_BYTES:
        raise ConfigError(
            f"{shown_uri(uri)} has more than {MAX_VERDICTS_BYTES >> 20} MiB, which are read. Export it again."
        )
    return content


def list_corrections(output_uri: str) -> list[StoredObject]:
    """Return the files that were put in as corrections, without what a file manager left there."""
    folder = storage.join(output_uri, FOLDER, CORRECTIONS_FOLDER)
    if not storage.exists(folder):
        return []
    return [o for o in storage.list_objects(folder) if kind_of_other(o.path, o.size_bytes) != HIDDEN]


def read_tables(output_uri: str) -> Tables:
    """Return the tables of the last review; empty ones without one.

    Raises:
        ConfigError: If one is damaged.
    """
    return Tables(_read(VerdictRow, output_uri), _read(PackageRow, output_uri), _read(CorrectionRow, output_uri))


def read_corrections(output_uri: str) -> list[CorrectionRow]:
    """Return the corrections of the last review; none without one.

    Raises:
        ConfigError: If their table is damaged.
    """
    return _read(CorrectionRow, output_uri)


def publish(output_uri: str, tables: Tables, *, agreement: str, viewer: str | None = None) -> None:
    """Publish viewer if any, agreement and tables; that of the corrections, which preparations read, last."""
    if viewer is not None:
        storage.publish(storage.join(output_uri, FOLDER, VIEWER_FILE), viewer.encode())
    storage.publish(storage.join(output_uri, FOLDER, AGREEMENT_FILE), agreement.encode())
    _publish(VerdictRow, output_uri, tables.verdicts)
    _publish(PackageRow, output_uri, tables.packages)
    _publish(CorrectionRow, output_uri, tables.corrections)


def _publish(kind: type[Row], output_uri: str, rows: Sequence[Row]) -> None:
    storage.publish(storage.join(output_uri, FOLDER, _TABLES[kind]), to_parquet(kind, rows))


def _read(kind: type[Row], output_uri: str) -> list[Row]:
    uri = storage.join(output_uri, FOLDER, _TABLES[kind])
    if not storage.exists(uri):
        return []
    return read_table(kind, uri, error=ConfigError, advice="Remove it; the next review writes it again.")
