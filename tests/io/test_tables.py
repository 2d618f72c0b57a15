"""Rows as Parquet: what goes in comes out, unknown stays unknown, and the columns are those of the contract."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
from tasks.io.tables import SCHEMAS, from_parquet, table_to_parquet, to_parquet
from tests.core.samples import CORRECTION, DUPLICATE, VERDICT

SLICE = SlicePair(
    case_id="c", slice_index=3, patient_id="p", source="s", image_uri="file:///i", mask_uri="file:///m", fingerprint="f"
)
CASE = CaseRow(
    case_id="c",
    patient_id="p",
    source="s",
    split="val",
    n_slices=2,
    n_source_slices=3,
    lesion_fraction=0.125,
    source_uri="gs://b/s",
    source_fingerprint="f",
)
FAILURE = FailureRow(uri="gs://b/ä.png", error_code="unreadable", error="Image is damaged.")
QUEUED = ScanRow(
    scan_id="a__b",
    source_uri="gs://b/a/b.png",
    source_fingerprint="f",
    status="deferred",
    model_digest="m",
    params_digest="p",
    mask_version="1",
    code_version="0.1.0+abc",
)
DONE = QUEUED.model_copy(
    update={
        "status": "done",
        "warnings": ["8-bit"],
        "flags": ["no_lesion", "odd"],
        "n_slices": 1,
        "is_oriented": True,
        "lesion_voxels": 3_000_000_000,  # more than 32 bits hold
        "lesion_ml": 1.5,
        "n_lesions": 4,
        "quality": 0.625,
        "drift_score": 1.25,
        "seconds": 0.25,
        "mask_uri": "gs://b/m.png",
        "mask_sha256": "0" * 64,
    }
)
ROWS: dict[type[Record], list[Record]] = {
    SlicePair: [SLICE, SLICE.model_copy(update={"slice_index": 0})],
    PatientRow: [PatientRow(patient_id="p", source="s", split="val"), PatientRow(patient_id="q", source="s")],
    CaseRow: [CASE],
    DuplicateRow: [DUPLICATE],
    FailureRow: [FAILURE, FAILURE],
    VerdictRow: [VERDICT, VERDICT.model_copy(update={"verdict": None, "decided_at": None, "status": "refused"})],
    PackageRow: [PackageRow(scan_id="a", status="accepted", warnings=["8-bit"], digest="d")],
    CorrectionRow: [CORRECTION, CORRECTION.model_copy(update={"layout": None, "source_uris": [], "error": "No."})],
    ScanRow: [DONE, QUEUED],
    LedgerEntry: [LedgerEntry(**row.model_dump(), reader_version="1") for row in (DONE, QUEUED)],
}


def test_every_table_is_tried_here() -> None:
    """A table added to SCHEMAS needs rows in this file."""
    assert ROWS.keys() == SCHEMAS.keys()


@pytest.mark.parametrize("kind", SCHEMAS)
def test_rows_make_the_round_trip_in_order(kind: type[Record]) -> None:
    """Rows come back equal and in order; what was unknown is None, not a number or an empty text."""
    assert from_parquet(kind, to_parquet(kind, ROWS[kind])) == ROWS[kind]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_table_without_rows_keeps_its_columns(kind: type[Record]) -> None:
    """An empty table has every field of its record as a column, in the same types as a full one."""
    empty, full = (pq.read_table(io.BytesIO(to_parquet(kind, rows))) for rows in ([], ROWS[kind]))
    assert empty.num_rows == 0
    assert empty.schema == full.schema
    assert empty.column_names == [name for name, field in kind.model_fields.items() if not field.exclude]
    assert from_parquet(kind, to_parquet(kind, [])) == []


def test_the_same_rows_give_the_same_bytes() -> None:
    """Written twice, a table has the same bytes, so that its digest says whether it changed."""
    assert to_parquet(ScanRow, [DONE, QUEUED]) == to_parquet(ScanRow, [DONE, QUEUED])
    assert to_parquet(ScanRow, [DONE, QUEUED]) != to_parquet(ScanRow, [QUEUED, DONE])


def test_tables_of_a_later_and_an_earlier_minor_version_are_read() -> None:
    """A column this version does not know is ignored; one that an earlier version lacked has its default."""
    later = table_to_parquet(pa.table({"uri": ["u"], "error_code": ["unreadable"], "error": ["e"], "new_in_1_1": [5]}))
    assert from_parquet(FailureRow, later) == [FailureRow(uri="u", error_code="unreadable", error="e")]
    whole = pq.read_table(io.BytesIO(to_parquet(ScanRow, [QUEUED])))
    assert from_parquet(ScanRow, table_to_parquet(whole.drop_columns(["seconds"]))) == [QUEUED]
