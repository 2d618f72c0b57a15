"""Text in Markdown: whatever it holds, nothing but text is shown."""

import re

from hypothesis import given
from hypothesis import strategies as st

from tasks.core.handles import SegmentationPlan
from tasks.core.pages.artifacts import failures_markdown, plan_markdown
from tasks.core.pages.markdown import as_code, escaped
from tasks.core.rows import FailureRow

PICTURE = "![x](http://127.0.0.1:9/seen) <img src=http://127.0.0.1:9/seen> `|`"


def test_a_picture_in_a_name_or_a_sentence_is_never_drawn() -> None:
    """In the artifacts that Prefect's pages show."""
    failure = FailureRow(uri="file:///a", error_code="unreadable", error=PICTURE)
    said = failures_markdown("Rejected", [failure], n_all=1)
    assert "![" not in said
    assert "<img" not in said
    assert said.splitlines()[-1].count(" | ") == 2  # a table of three columns still
    assert f"- `` {PICTURE} ``" in plan_markdown(SegmentationPlan(due=[PICTURE], up_to_date={}))


@given(st.text())
def test_a_code_span_ends_where_it_should(text: str) -> None:
    """Its fence is longer than any run of backticks in it."""
    shown = as_code(text)
    fence = re.match("`*", shown)
    assert fence is not None
    assert shown.endswith(fence[0])
    assert fence[0] not in shown[len(fence[0]) : -len(fence[0])] or not text.strip()


@given(st.text())
def test_escaped_text_has_no_line_of_its_own(text: str) -> None:
    """Neither lines, nor tags, nor brackets that are not escaped."""
    shown = escaped(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(\\\\)*[\[\]`*_|]", shown)
    assert "<" not in shown
