"""What steps hand each other: URIs, fingerprints and counts, never an array."""

from pydantic import Field

from tasks.core.catalog import Split
from tasks.core.record import Record
from tasks.core.rows import ScanStatus


class SourceHandle(Record):
    """The paired and identified slices of a labelled source, as a table at `uri`.

    Attributes:
        patients: Source of each patient, by `patient_id`.
        assignments: Split of each patient, by `patient_id`; empty where slices are split instead.
    """

    uri: str
    fingerprint: str
    patients: dict[str, str]
    assignments: dict[str, Split] = Field(default_factory=dict)
    n_slices: int
    n_failed: int
    warnings: tuple[str, ...] = ()


class DatasetHandle(Record):
    """A finished dataset."""

    uri: str
    fingerprint: str
    n_slices: int
    n_failed: int
    warnings: tuple[str, ...] = ()


class ModelHandle(Record):
    """A finished bundle."""

    uri: str
    fingerprint: str


class EvaluationHandle(Record):
    """A finished evaluation."""

    uri: str
    fingerprint: str
    n_failed: int


class SegmentationHandle(Record):
    """A finished segmentation: how many scans ended how, how many failures are new, and the bug that all ended in."""

    uri: str
    fingerprint: str
    counts: dict[ScanStatus, int]
    n_new_failures: int
    common_bug: str | None = None


class SegmentationPlan(Record):
    """What a segmentation would do: the scans it would work on, and how many others need nothing."""

    due: list[str]
    settled: dict[ScanStatus, int]

    def sentence(self) -> str:
        """Return it in one line."""
        rest = ", ".join(f"{n} {status}" for status, n in self.settled.items())
        named = f" ({', '.join(self.due[:3])}{', …' if len(self.due) > 3 else ''})" if self.due else ""
        return f"{len(self.due)} scans would be segmented{named}; the others: {rest}."
