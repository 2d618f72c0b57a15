"""Segmentation on storage: masks and previews by scan, table of scans, report, and manifest, written last."""

from collections.abc import Sequence
from heapq import nlargest
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


def read_largest(output_uri: str, rows: Sequence[ScanRow], n: int) -> list[tuple[ScanRow, bytes]]:
    """Return the chest CTs with the most lesion voxels, with their previews, unless these were removed."""
    chests = (row for row in rows if row.lesion_voxels and "hu_implausible" not in row.flags)
    largest = nlargest(n, chests, key=lambda row: row.lesion_voxels or 0)
    kept = [row for row in largest if storage.exists(preview_uri(output_uri, row.scan_id))]
    return list(zip(kept, storage.read_all([preview_uri(output_uri, row.scan_id) for row in kept]), strict=True))


def publish(output_uri: str, manifest: SegmentationManifest, rows: Sequence[ScanRow], *, page: str) -> None:
    """Publish table and report, then the manifest."""
    storage.publish(storage.join(output_uri, SCANS_FILE), to_parquet(ScanRow, rows))
    storage.publish(storage.join(output_uri, REPORT_FILE), page.encode())
    storage.publish(storage.join(output_uri, MANIFEST_FILE), manifest.model_dump_json(indent=2).encode())


def reveal(output_uri: str) -> list[tuple[str, str]]:
    """Return id and source URI of every scan of a segmentation with hashed ids.

    Raises:
        ConfigError: If the key is missing or wrong.
        StorageError: If there is no segmentation.
    """
    seal = Seal.from_environment()
    return [(row.scan_id, seal.open_text(row.source_uri)) for row in read_rows(output_uri)]
