"""Summary of a segmented collection: what a reader should know in a minute, on the page and in Prefect."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tasks.core.drift import CollectionDrift
from tasks.core.flags import FLAGS, label
from tasks.core.numbers import DASH, count, score
from tasks.core.plural import counted
from tasks.core.rows import ScanRow
from tasks.core.schemas import SegmentationManifest

USUAL_FLAGS = {"no_lesion"}
"""Flags that do not make a scan worth a review."""
SEGMENTED = ("done", "skipped")
"""Statuses of scans that have a mask."""


def needs_review(row: ScanRow) -> bool:
    """Return whether a scan has a mask that a person should look at."""
    return row.status in SEGMENTED and bool(row.warnings or set(row.flags) - USUAL_FLAGS)


@dataclass(frozen=True, slots=True)
class Tile:
    """Number at the top of the page; the tone is good, watch or bad."""

    label: str
    number: str
    note: str
    tone: str


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """Counts of a collection.

    Attributes:
        n_scans: Scans that could have a mask: all but what is no scan.
        n_segmented: Those that have one.
        n_new: Those of them that were segmented in this run.
        n_rejected: Scans that were rejected.
        n_newly_rejected: Those of them that no earlier run had rejected.
        n_deferred: Scans that were left for the next run.
        n_to_review: Masks that a person should look at.
        n_new_to_review: Those of them from this run.
        drift: Drift of the collection; None if it was not measured.
    """

    n_scans: int
    n_segmented: int
    n_new: int
    n_rejected: int
    n_newly_rejected: int
    n_deferred: int
    n_to_review: int
    n_new_to_review: int
    drift: CollectionDrift | None

    @classmethod
    def of(cls, manifest: SegmentationManifest, rows: Sequence[ScanRow]) -> Self:
        """Return the summary of a run."""
        counts = manifest.counts
        to_review = [row for row in rows if needs_review(row)]
        return cls(
            n_scans=sum(n for status, n in counts.items() if status != "not_a_scan"),
            n_segmented=counts["done"] + counts["skipped"],
            n_new=counts["done"],
            n_rejected=counts["failed"],
            n_newly_rejected=manifest.n_new_failures,
            n_deferred=counts["deferred"],
            n_to_review=len(to_review),
            n_new_to_review=sum(row.status == "done" for row in to_review),
            drift=manifest.drift,
        )

    @property
    def sentence(self) -> str:
        """What became of the collection, in one sentence."""
        if not self.n_scans:
            return "No scan was found."
        has = "has" if self.n_scans == 1 else "have"
        segmented = f"{count(self.n_segmented)} of {counted(self.n_scans, 'scan')}"
        parts = [f"{segmented} {has} a mask, {count(self.n_new)} of them new"]
        if self.n_rejected:
            verb = "was" if self.n_rejected == 1 else "were"
            if self.n_newly_rejected == self.n_rejected:
                parts.append(f"{count(self.n_rejected)} {verb} newly rejected")
            else:
                newly = count(self.n_newly_rejected)
                when = f", {newly} of them newly" if self.n_newly_rejected else " by earlier runs"
                parts.append(f"{count(self.n_rejected)} {verb} rejected{when}")
        if self.n_deferred:
            parts.append(f"{count(self.n_deferred)} {'waits' if self.n_deferred == 1 else 'wait'} for the next run")
        looked = f"{counted(self.n_to_review, 'mask')} should be reviewed" if self.n_to_review else "no mask is flagged"
        return f"{'; '.join([*parts, looked])}."

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The four numbers at the top."""
        rejected_tone = "bad" if self.n_newly_rejected else "watch" if self.n_rejected else "good"
        return (
            Tile("Segmented", count(self.n_segmented), f"{count(self.n_new)} in this run", "good"),
            Tile("Rejected", count(self.n_rejected), f"{count(self.n_newly_rejected)} new", rejected_tone),
            Tile(
                "To review",
                count(self.n_to_review),
                f"{count(self.n_new_to_review)} of this run",
                "watch" if self.n_to_review else "good",
            ),
            self._drift_tile,
        )

    @property
    def _drift_tile(self) -> Tile:
        if self.drift is None:
            return Tile("Unlike training data", DASH, "not measured", "watch")
        tone = "bad" if any(self.drift.warnings()) else "watch" if self.drift.n_foreign else "good"
        note = f"median score {score(self.drift.median)}"
        return Tile("Unlike training data", count(self.drift.n_foreign), note, tone)


def rejected_by_code(rows: Sequence[ScanRow]) -> list[tuple[str, int, str, list[str]]]:
    """Return the rejections: code, number, an example's sentence, and the first scan ids; most frequent first."""
    failed = [row for row in rows if row.status == "failed"]
    counts = Counter(str(row.error_code) for row in failed)
    found = []
    for code, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        own = [row for row in failed if row.error_code == code]
        found.append((code, n, own[0].error or "", [row.scan_id for row in own[:3]]))
    return found


def flag_counts(rows: Sequence[ScanRow]) -> list[tuple[str, str, int, str]]:
    """Return the flags that are raised: code, name in words, number of scans, and what it means."""
    counts = Counter(flag for row in rows for flag in row.flags)
    return [(name, label(name), counts[name], flag.sentence) for name, flag in FLAGS.items() if counts[name]]
