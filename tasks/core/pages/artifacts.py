"""Summaries as Markdown, for Prefect's artifacts."""

from collections.abc import Sequence

from tasks.core.handles import SegmentationPlan
from tasks.core.numbers import count
from tasks.core.pages.markdown import as_code, escaped
from tasks.core.plural import counted
from tasks.core.rows import FailureRow, ScanRow
from tasks.core.schemas import DatasetCard, LeakageAudit

MAX_ROWS = 500
"""Largest number of rows of a table in a page; the whole table is beside it as Parquet or JSON."""


def failures_markdown(title: str, failures: Sequence[FailureRow | ScanRow], *, n_all: int) -> str:
    """Return the rejected inputs by error code as Markdown, for Prefect; without file names."""
    if not failures:
        return f"# {title}\n\nNothing was rejected; {counted(n_all, 'input')}."
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for failure in failures:
        code = str(failure.error_code)
        first.setdefault(code, escaped(failure.error or ""))
        counts[code] = counts.get(code, 0) + 1
    lines = [f"| {code} | {count(counts[code])} | {first[code]} |" for code in sorted(counts)]
    return "\n".join(
        [
            f"# {title}",
            "",
            f"{count(len(failures))} of {counted(n_all, 'input')} rejected.",
            "",
            "| code | count | example |",
            "|---|---|---|",
            *lines,
        ]
    )


def plan_markdown(plan: SegmentationPlan) -> str:
    """Return the plan of a segmentation as Markdown, for Prefect."""
    shown = [f"- {as_code(scan_id)}" for scan_id in plan.due[:MAX_ROWS]]
    return "\n".join(["# Scans that would be segmented", "", plan.sentence(), "", *shown])


def dataset_markdown(card: DatasetCard) -> str:
    """Return the summary of a dataset as Markdown, for Prefect."""
    lines = [f"| {split} | {count(n)} |" for split, n in card.n_slices_by_split.items()]
    return "\n".join(
        [
            "# Dataset",
            *(f"**{escaped(warning)}**\n" for warning in card.warnings),
            (
                f"{counted(card.n_slices, 'slice')} of {counted(card.n_cases, 'case')} and "
                f"{counted(card.n_patients, 'patient')} at {card.size_px} px."
            ),
            f"{counted(card.n_failed, 'slice')} rejected.",
            *([f"{counted(card.n_lung_masks, 'slice')} with a lung mask."] if card.n_lung_masks else []),
            *([_leakage(card.leakage)] if card.leakage else []),
            *(f"{counted(one.n_scans, 'corrected scan')} of {as_code(one.uri)}." for one in card.corrections),
            "",
            "| split | slices |",
            "|---|---|",
            *lines,
        ]
    )


def _leakage(audit: LeakageAudit) -> str:
    return (
        f"{counted(audit.n_slices, 'slice')} compared with those of other patients: "
        f"{counted(audit.n_near_duplicates, 'pair')} nearly the same, {audit.n_across_splits} across splits. "
        f"{counted(audit.n_patients_in_several_splits, 'patient')} in several splits."
    )
