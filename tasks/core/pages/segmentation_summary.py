"""Summary of a segmentation as Markdown, for Prefect: the top of the page, and what a person has to do."""

from collections.abc import Iterator, Sequence

from tasks.core.addresses import shown_uri
from tasks.core.collection_summary import CollectionSummary, rejected_by_code
from tasks.core.flags import label
from tasks.core.numbers import count, score
from tasks.core.pages.markdown import as_code, escaped
from tasks.core.pages.segmentation import NO_DRIFT, to_review
from tasks.core.plural import counted
from tasks.core.rows import ScanRow
from tasks.core.schemas import SegmentationManifest

MAX_REVIEW_ROWS = 20
"""Scans to review that are named in Prefect; the page has all."""
CONSOLE = "https://storage.cloud.google.com/"
"""Where a signed-in browser opens an object of Google Cloud Storage (cloud.google.com, authenticated downloads)."""


def segmentation_markdown(manifest: SegmentationManifest, rows: Sequence[ScanRow], *, report_uri: str) -> str:
    """Return the summary: one sentence, four numbers, warnings, rejections, scans to review, and where the page is.

    Args:
        manifest: Manifest of the run.
        rows: Rows of all scans.
        report_uri: URI of the page.
    """
    summary = CollectionSummary.of(manifest, rows)
    lines = [f"# {escaped(summary.sentence)}", ""]
    lines += [f"| {' | '.join(tile.label for tile in summary.tiles)} |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(f'**{tile.number}**, {tile.note}' for tile in summary.tiles)} |", ""]
    lines += [f"**{escaped(warning)}**\n" for warning in manifest.warnings]
    if manifest.drift is None and summary.n_segmented:
        lines += [NO_DRIFT, ""]
    lines += [f"Report: {_link(report_uri)}", *_rejected(rows), *_to_review(rows)]
    return "\n".join(lines)


def _link(uri: str) -> str:
    """Return an address as a link where a browser can follow it, else as code."""
    shown = shown_uri(uri)
    if shown.startswith("gs://") and all(part not in shown for part in " ()<>"):
        return f"[{escaped(shown)}]({CONSOLE}{shown.removeprefix('gs://')})"
    return as_code(shown)


def _rejected(rows: Sequence[ScanRow]) -> Iterator[str]:
    found = rejected_by_code(rows)
    if found:
        yield "\n## Rejected, and what to do\n"
        yield "| reason | scans | example |\n|---|---|---|"
        yield from (f"| {as_code(code)} | {count(n)} | {escaped(error)} |" for code, n, error, _ in found)


def _to_review(rows: Sequence[ScanRow]) -> Iterator[str]:
    queue = to_review(rows)
    if queue:
        shown = queue[:MAX_REVIEW_ROWS]
        yield f"\n## To review, most urgent first ({counted(len(queue), 'scan')})\n"
        yield "| scan | expected Dice | drift | flags |\n|---|---|---|---|"
        for row in shown:
            quality = score(row.quality if row.n_lesions else None)
            flags = escaped(", ".join(label(flag) for flag in row.flags))
            yield f"| {escaped(row.scan_id)} | {quality} | {score(row.drift_score)} | {flags} |"
        if len(queue) > len(shown):
            yield f"\nThe first {len(shown)}; the report has all."
