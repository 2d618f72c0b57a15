import pytest

from tasks.core.pages.segmentation_summary import MAX_REVIEW_ROWS, segmentation_markdown
from tests.core.samples import DONE, DRIFT, FAILED, MANIFEST

FLAGGED = DONE.model_copy(update={"flags": ["low_quality"], "quality": 0.31, "drift_score": 1.2})


def _said(rows: list, report_uri: str = "file:///out/report.html", **changes: object) -> str:
    return segmentation_markdown(MANIFEST.model_copy(update=changes), rows, report_uri=report_uri)


def test_the_summary_begins_as_the_page_does() -> None:
    """One sentence and four numbers, then every warning."""
    text = _said([FLAGGED], drift=DRIFT, warnings=("drift: 2 of 9 scans look unlike the training data", "another"))
    lines = text.splitlines()
    assert lines[0].startswith("# ")
    assert "1 mask should be reviewed" in lines[0]
    assert lines[2] == "| Segmented | Rejected | To review | Unlike training data |"
    assert "**2**, median score 0.700 |" in lines[4]
    assert "**another**" in text
    assert "Drift was not measured" not in text
    assert "Drift was not measured" in _said([FLAGGED])


def test_rejections_and_scans_to_review_are_named_by_id() -> None:
    """With reason and remedy; no file name, which may hold a patient's."""
    text = _said([FLAGGED, FAILED])
    assert "| `unreadable` | 1 | Image is truncated. |" in text
    assert "| scan\\_done | 0.310 | 1.200 | low quality |" in text
    assert "john_doe" not in text


def test_of_many_scans_to_review_the_first_are_named() -> None:
    """And where the rest is."""
    rows = [FLAGGED.model_copy(update={"scan_id": f"s{number}"}) for number in range(MAX_REVIEW_ROWS + 1)]
    text = _said(rows)
    assert text.count("low quality") == MAX_REVIEW_ROWS
    assert text.endswith(f"The first {MAX_REVIEW_ROWS}; the report has all.")


def test_nothing_to_do_is_no_table() -> None:
    """A quiet night has neither rejections nor a queue."""
    assert "##" not in _said([DONE])


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (
            "gs://bucket/night/report.html",
            "[gs://bucket/night/report.html](https://storage.cloud.google.com/bucket/night/report.html)",
        ),
        ("gs://bucket/a (b)/report.html", "`gs://bucket/a (b)/report.html`"),
        ("s3://bucket/report.html", "`s3://bucket/report.html`"),
    ],
)
def test_the_report_is_a_link_where_a_browser_can_follow_it(uri: str, shown: str) -> None:
    """Elsewhere its address is code."""
    assert f"Report: {shown}" in _said([DONE], uri)


def test_a_scan_named_as_markup_is_shown_as_text() -> None:
    """It draws no picture from elsewhere and breaks no table."""
    text = _said([FLAGGED.model_copy(update={"scan_id": "![x](http://evil)|<b>"})])
    assert "![x]" not in text
    assert "<b>" not in text
