"""Tables of a labelled source, each written once by one step of a preparation and read once by a later one."""

from collections.abc import Iterable, Mapping, Sequence

from tasks.core.catalog import Split
from tasks.core.config.preparation import PreparationConfig
from tasks.core.digests import digest
from tasks.core.errors import ConfigError
from tasks.core.rows import FailureRow, PatientRow, SlicePair
from tasks.io import storage
from tasks.io.record_files import Found, read_table
from tasks.io.tables import to_parquet
from tasks.io.versions import code_version

PAIRS_FILE = "pairs.parquet"
FAILURES_FILE = "failures.parquet"
PATIENTS_FILE = "patients.parquet"
SPLITS_FILE = "splits.parquet"


def publish_found(
    uri: str, pairs: Sequence[SlicePair], failures: Sequence[FailureRow], *, splits: Mapping[str, Split] | None = None
) -> None:
    """Publish the labelled slices of a source, its patients, and its rejected files.

    Args:
        uri: URI of the tables.
        pairs: Labelled slices.
        failures: Rejected files.
        splits: Splits of patients that are fixed before the others are split, by `patient_id`.
    """
    fixed = splits or {}
    patients = {
        pair.patient_id: PatientRow(patient_id=pair.patient_id, source=pair.source, split=fixed.get(pair.patient_id))
        for pair in pairs
    }
    storage.publish(storage.join(uri, PAIRS_FILE), to_parquet(SlicePair, pairs))
    storage.publish(storage.join(uri, FAILURES_FILE), to_parquet(FailureRow, failures))
    storage.publish(storage.join(uri, PATIENTS_FILE), to_parquet(PatientRow, [*patients.values()]))


def publish_splits(uri: str, patients: Iterable[PatientRow]) -> None:
    """Publish patients with their splits."""
    storage.publish(storage.join(uri, SPLITS_FILE), to_parquet(PatientRow, [*patients]))


def read_pairs(uri: str) -> list[SlicePair]:
    """Return the labelled slices."""
    return _read(SlicePair, uri, PAIRS_FILE)


def read_failures(uri: str) -> list[FailureRow]:
    """Return the files rejected while pairing."""
    return _read(FailureRow, uri, FAILURES_FILE)


def read_patients(uri: str) -> list[PatientRow]:
    """Return the patients, without splits but for those that are fixed before."""
    return _read(PatientRow, uri, PATIENTS_FILE)


def read_splits(uri: str) -> dict[str, Split]:
    """Return the split of each patient, by `patient_id`; empty where slices are split instead."""
    rows = _read(PatientRow, uri, SPLITS_FILE)
    return {row.patient_id: row.split for row in rows if row.split}


def case_fingerprint(pairs: Iterable[SlicePair]) -> str:
    """Return the digest of the fingerprints of a case's slices: it changes when any of its files does."""
    return digest(slices=sorted(pair.fingerprint for pair in pairs))


def source_fingerprint(
    pairs: Iterable[SlicePair], failures: Iterable[FailureRow], preparation: PreparationConfig
) -> str:
    """Return the digest of a source's files and identities, of how they are prepared, and of the code."""
    decides_nothing = {"max_failed_fraction", *(() if preparation.corrections else ("corrections",))}
    return digest(
        preparation=preparation.model_dump(mode="json", exclude=decides_nothing),
        code=code_version(),
        slices=sorted(
            [pair.case_id, pair.slice_index, pair.patient_id, pair.source, pair.fingerprint] for pair in pairs
        ),
        failures=[failure.uri for failure in failures],
    )


def split_fingerprint(source: str, splits: Mapping[str, Split]) -> str:
    """Return the digest of a source's own fingerprint and the splits of its patients."""
    return digest(source=source, splits=sorted(splits.items()))


def _read(kind: type[Found], uri: str, name: str) -> list[Found]:
    return read_table(kind, storage.join(uri, name), error=ConfigError, advice="Prepare the dataset again.")
