"""Prefect task that takes in verdicts and corrections of a segmentation, and packages the scans to correct."""

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.core.handles import ReviewHandle
from tasks.core.verdict_agreement import agreement_by_week, agreement_markdown
from tasks.engine.steps.review import review as review_segmentation
from tasks.io.outputs import reviews
from tasks.runtime.retries import STORAGE_RETRIES
from tasks.runtime.run_logging import logging_to_prefect


@task(name="review", **STORAGE_RETRIES)
def review(output_uri: str, *, n_scans: int, labelmap: bool) -> ReviewHandle:
    """Take in verdicts and corrections, package the scans to correct, and publish tables and agreement."""
    with logging_to_prefect():
        handle = review_segmentation(output_uri, n_scans=n_scans, kind="LABELMAP" if labelmap else "BINARY")
    tables = reviews.read_tables(output_uri)
    weeks = agreement_by_week(tables.verdicts, tables.corrections)
    create_markdown_artifact(agreement_markdown(weeks), key="review-agreement", description="Agreement by week.")
    create_table_artifact(
        [handle.model_dump(exclude={"uri"})], key="review", description="Packages, verdicts and corrections."
    )
    return handle
