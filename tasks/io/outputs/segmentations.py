"""Segmentation on storage: masks and previews by scan, table of scans, report, and manifest, written last."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from tasks.core.errors import ConfigError
from tasks.core.rows import ScanRow
from tasks.core.schemas import SegmentationManifest
from tasks.io import storage
from tasks.io.pseudonyms import Seal
from tasks.io.record_files import read_record, read_table
from tasks.io.tables import to_parquet

MASKS_FOLDER: Final = "masks"
PREVIEWS_FOLDER: Final = "previews"
SCANS_FILE: Final = "scans.parquet"
REPORT_FILE: Final = "report.html"
MANIFEST_FILE: Final = "manifest.json"
INDEX_FOLDER: Final = "index"

FOLDERS: Final = (MASKS_FOLDER, PREVIEWS_FOLDER, INDEX_FOLDER)


def mask_uri(output_uri: str, scan_id: str, suffix: str) -> str:
    """Return the URI of a scan's mask, with the suffix of its writer."""
    return storage.join(output_uri, MASKS_FOLDER, f"{scan_id}.{suffix}")


def previewed(output_uri: str) -> set[str]:
    """Return the ids of the scans that have a preview."""
    folder = storage.join(output_uri, PREVIEWS_FOLDER)
    return {o.path.removesuffix(".png") for o in storage.list_objects(folder)} if storage.exists(folder) else set()


def preview_uri(output_uri: str, scan_id: str) -> str:
    """Return the URI of a scan's preview."""
    return storage.join(output_uri, PREVIEWS_FOLDER, f"{scan_id}.png")


def report_uri(output_uri: str) -> str:
    """Return the URI of the page."""
    return storage.join(output_uri, REPORT_FILE)


def find_manifest(output_uri: str) -> SegmentationManifest | None:
    """Return the manifest of the newest finished run, or None if none is finished."""
    uri = storage.join(output_uri, MANIFEST_FILE)
    if not storage.exists(uri):
        return None
    return read_record(SegmentationManifest, uri, error=ConfigError, advice="Remove it; the next run writes it again.")


def read_rows(output_uri: str) -> list[ScanRow]:
    """Return the rows of the table of scans.

    Raises:
        ConfigError: If it is damaged.
        StorageError: If no run has published one.
    """
    return read_table(
        ScanRow,
        storage.join(output_uri, SCANS_FILE),
        error=ConfigError,
        advice="Remove it; the next run writes it again.",
    )


def n_rows(output_uri: str) -> int:
    """Return the number of scans in the table; 0 without a table."""
    return len(read_rows(output_uri)) if storage.exists(storage.join(output_uri, SCANS_FILE)) else 0


def read_previews(output_uri: str, rows: Sequence[ScanRow], *, max_bytes: int) -> dict[str, bytes]:
    """Return the previews of the first scans by id, of so many bytes together; those that were removed are left out."""
    kept = [row.scan_id for row in rows if storage.exists(preview_uri(output_uri, row.scan_id))]
    found = storage.read_all([preview_uri(output_uri, scan_id) for scan_id in kept])
    totals = accumulate(len(content) for content in found)
    return {scan_id: png for scan_id, png, total in zip(kept, found, totals, strict=True) if total <= max_bytes}


def publish(output_uri: str, manifest: SegmentationManifest, rows: Sequence[ScanRow], *, page: str) -> None:
    """Publish table and report, then the manifest."""
    storage.publish(storage.join(output_uri, SCANS_FILE), to_parquet(ScanRow, rows))
    storage.publish(report_uri(output_uri), page.encode())
    storage.publish(storage.join(output_uri, MANIFEST_FILE), manifest.model_dump_json(indent=2).encode())


def reveal(output_uri: str) -> list[tuple[str, str]]:
    """Return id and source URI of every scan of a segmentation with hashed ids.

    Raises:
        ConfigError: If the key is missing or wrong.
        StorageError: If there is no segmentation.
    """
    seal = Seal.from_environment()
    return [(row.scan_id, seal.open_text(row.source_uri)) for row in read_rows(output_uri)]
