"""Hashed ids back to where their scans lie, for whoever has the key."""

from tasks.core.schemas import ScanRow
from tasks.engine.steps.listing import SCANS_FILE
from tasks.io import storage
from tasks.io.pseudonyms import Seal
from tasks.io.tables import from_parquet


def reveal(output_uri: str) -> list[tuple[str, str]]:
    """Return id and source URI of every scan of a segmentation whose ids were hashed.

    Raises:
        ConfigError: If the key is missing or another.
        StorageError: If there is no segmentation.
    """
    seal = Seal.from_environment()
    rows = from_parquet(ScanRow, storage.read_bytes(storage.join(output_uri, SCANS_FILE)))
    return [(row.scan_id, seal.open_text(row.source_uri)) for row in rows]
