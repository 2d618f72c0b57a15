"""Tables as Parquet files, from and to records."""

import io
from collections.abc import Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.record import Record
from tasks.core.rows import (
    CaseRow,
    CorrectionRow,
    DuplicateRow,
    FailureRow,
    LedgerEntry,
    PackageRow,
    PatientRow,
    ScanRow,
    SlicePair,
    VerdictRow,
)

Row = TypeVar("Row", bound=Record)

SCHEMAS: dict[type[Record], pa.Schema] = {
    SlicePair: pa.schema(
        [
            ("case_id", pa.string()),
            ("slice_index", pa.int32()),
            ("patient_id", pa.string()),
            ("source", pa.string()),
            ("image_uri", pa.string()),
            ("mask_uri", pa.string()),
            ("lung_uri", pa.string()),
            ("mask_sha256", pa.string()),
            ("fingerprint", pa.string()),
        ]
    ),
    PatientRow: pa.schema([("patient_id", pa.string()), ("source", pa.string()), ("split", pa.string())]),
    CaseRow: pa.schema(
        [
            ("case_id", pa.string()),
            ("patient_id", pa.string()),
            ("source", pa.string()),
            ("split", pa.string()),
            ("n_slices", pa.int32()),
            ("n_source_slices", pa.int32()),
            ("lesion_fraction", pa.float64()),
            ("source_uri", pa.string()),
            ("source_fingerprint", pa.string()),
        ]
    ),
    DuplicateRow: pa.schema(
        [
            ("case_id", pa.string()),
            ("slice_index", pa.int32()),
            ("patient_id", pa.string()),
            ("split", pa.string()),
            ("other_case_id", pa.string()),
            ("other_slice_index", pa.int32()),
            ("other_patient_id", pa.string()),
            ("other_split", pa.string()),
            ("similarity", pa.float64()),
        ]
    ),
    FailureRow: pa.schema([("uri", pa.string()), ("error_code", pa.string()), ("error", pa.string())]),
    ScanRow: pa.schema(
        [
            ("scan_id", pa.string()),
            ("source_uri", pa.string()),
            ("source_fingerprint", pa.string()),
            ("status", pa.string()),
            ("error_code", pa.string()),
            ("error", pa.string()),
            ("warnings", pa.list_(pa.string())),
            ("flags", pa.list_(pa.string())),
            ("n_slices", pa.int32()),
            ("height_px", pa.int32()),
            ("width_px", pa.int32()),
            ("spacing_mm", pa.list_(pa.float64())),
            ("is_oriented", pa.bool_()),
            ("lesion_profile", pa.list_(pa.int64())),
            ("lesion_voxels", pa.int64()),
            ("lesion_ml", pa.float64()),
            ("n_lesions", pa.int32()),
            ("lung_ml", pa.float64()),
            ("lung_involvement", pa.float64()),
            ("quality", pa.float64()),
            ("quality_low", pa.float64()),
            ("quality_high", pa.float64()),
            ("drift_score", pa.float64()),
            ("seconds", pa.float64()),
            ("mask_uri", pa.string()),
            ("mask_sha256", pa.string()),
            ("model_digest", pa.string()),
            ("params_digest", pa.string()),
            ("mask_version", pa.string()),
            ("code_version", pa.string()),
        ]
    ),
    VerdictRow: pa.schema(
        [
            ("scan_id", pa.string()),
            ("verdict", pa.string()),
            ("mask_sha256", pa.string()),
            ("decided_at", pa.timestamp("us", "UTC")),
            ("status", pa.string()),
            ("error_code", pa.string()),
            ("error", pa.string()),
            ("digest", pa.string()),
        ]
    ),
    PackageRow: pa.schema(
        [
            ("scan_id", pa.string()),
            ("status", pa.string()),
            ("error_code", pa.string()),
            ("error", pa.string()),
            ("warnings", pa.list_(pa.string())),
            ("digest", pa.string()),
        ]
    ),
    CorrectionRow: pa.schema(
        [
            ("scan_id", pa.string()),
            ("status", pa.string()),
            ("error_code", pa.string()),
            ("error", pa.string()),
            ("sha256", pa.string()),
            ("n_voxels_before", pa.int64()),
            ("n_voxels_after", pa.int64()),
            ("dice_with_prediction", pa.float64()),
            ("prediction_sha256", pa.string()),
            ("layout", pa.string()),
            ("source_uris", pa.list_(pa.string())),
            ("source_fingerprint", pa.string()),
            ("label_sha256", pa.string()),
            ("taken_at", pa.timestamp("us", "UTC")),
        ]
    ),
}
SCHEMAS[LedgerEntry] = SCHEMAS[ScanRow].append(pa.field("reader_version", pa.string()))


def to_parquet(kind: type[Row], rows: Sequence[Row]) -> bytes:
    """Return rows as a Parquet file; a table without rows keeps its columns."""
    return table_to_parquet(pa.Table.from_pylist([row.model_dump() for row in rows], schema=SCHEMAS[kind]))


def from_parquet(kind: type[Row], content: bytes) -> list[Row]:
    """Return the rows of a Parquet file."""
    return [kind.model_validate(row) for row in table_from_parquet(content).to_pylist()]


def table_to_parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file, with checksums; the same table gives the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def table_from_parquet(content: bytes) -> pa.Table:
    """Return the table of a Parquet file.

    Raises:
        OSError: If it cannot be unpacked, or a checksum is wrong; files from before there were any have none.
        pyarrow.ArrowException: If it is no Parquet file.
    """
    return pq.read_table(io.BytesIO(content), page_checksum_verification=True)
