from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.rows import VerdictRow
from tasks.core.verdicts import read_verdicts, verdicts_on

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
MASKS = {"scan_a": "a" * 64, "scan_b": "b" * 64}
HEAD = "scan_id,verdict,mask_sha256,decided_at,comment\n"


def _line(
    scan_id: str = "scan_a", verdict: str = "accept", sha256: str = "a" * 64, at: str = "2026-03-04T11:00:00Z"
) -> str:
    return f'{scan_id},{verdict},{sha256},{at},"a, b"\n'


def _read(*lines: str, earlier: list[VerdictRow] | None = None, masks: dict[str, str] = MASKS) -> list[VerdictRow]:
    content = (HEAD + "".join(lines)).encode()
    return read_verdicts(content, masks=masks, earlier=earlier or [], now=NOW)


def test_lines_of_the_report_are_accepted() -> None:
    """A line as the report exports it is a verdict with the time in UTC; comments are not kept."""
    [row] = _read(_line(at="2026-03-04T12:00:00+01:00"))
    assert (row.scan_id, row.verdict, row.status) == ("scan_a", "accept", "accepted")
    assert row.decided_at == datetime(2026, 3, 4, 11, tzinfo=UTC)
    assert "a, b" not in row.model_dump_json()


@pytest.mark.parametrize(("scan_id", "shown"), [("=1+1", "'=1+1"), ("-a", "'-a"), ("'a", "'a")])
def test_an_id_that_looks_like_a_formula_comes_back_as_it_is(scan_id: str, shown: str) -> None:
    """The report puts an apostrophe before it; one that belongs to the id stays."""
    [row] = _read(_line(scan_id=shown), masks={scan_id: "a" * 64})
    assert (row.scan_id, row.status) == (scan_id, "accepted")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (_line(verdict="maybe"), "bad_verdict"),
        (_line(sha256="short"), "bad_verdict"),
        (_line(at="yesterday"), "bad_verdict"),
        (_line(at="2026-03-04T11:00:00"), "bad_verdict"),
        (_line(at="2026-04-04T11:00:00Z"), "bad_verdict"),
        (_line(at="9999-12-31T23:59:59-23:59"), "bad_verdict"),
        (_line(at="0001-01-01T00:00:00+23:59"), "bad_verdict"),
        (_line(scan_id="john_doe"), "unknown_scan"),
        (_line(sha256="c" * 64), "outdated"),
        ("scan_a,accept\n", "bad_verdict"),
    ],
)
def test_bad_line_is_refused_and_the_others_count(line: str, code: str) -> None:
    """It is a row with a code and one sentence that names the line and repeats nothing of it."""
    accepted, refused = _read(line, _line(scan_id="scan_b", sha256="b" * 64))
    assert (accepted.scan_id, accepted.status) == ("scan_b", "accepted")
    assert (refused.status, refused.error_code) == ("refused", code)
    assert refused.error.startswith("Line 2: ")
    assert "john_doe" not in refused.model_dump_json()


@pytest.mark.parametrize("content", [b"", b"scan_id,verdict\nscan_a,accept\n", b"\xff\xfe\x00", b"\x00" * 9])
def test_file_that_is_no_table_of_verdicts_is_one_refusal(content: bytes) -> None:
    """A damaged export stops nothing and is said once."""
    [row] = read_verdicts(content, masks=MASKS, earlier=[], now=NOW)
    assert (row.status, row.error_code) == ("refused", "bad_verdict")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever somebody puts there, the result is rows."""
    for content in (text, HEAD + text):
        rows = read_verdicts(content.encode("utf-8", "surrogatepass"), masks=MASKS, earlier=[], now=NOW)
        assert all(row.error for row in rows if row.status == "refused")


def test_newest_verdict_on_a_mask_counts() -> None:
    """A second look at the same mask replaces the first, in whatever order they come."""
    first, second = _line(at="2026-03-01T11:00:00Z"), _line(verdict="reject", at="2026-03-02T11:00:00Z")
    for lines in ((first, second), (second, first)):
        [row] = _read(*lines)
        assert row.verdict == "reject"


def test_verdicts_of_earlier_reviews_stay() -> None:
    """A new export, or a mask that was made anew, takes no verdict away; but the new mask has none yet."""
    earlier = _read(_line())
    made_anew = MASKS | {"scan_a": "c" * 64}
    rows = _read(_line(scan_id="scan_b", sha256="b" * 64), _line(), earlier=earlier, masks=made_anew)
    assert [(row.scan_id, row.status) for row in rows] == [("scan_a", "accepted"), ("scan_b", "accepted")]
    assert verdicts_on(made_anew, rows) == {"scan_b": "accept"}
    assert verdicts_on(MASKS, rows) == {"scan_a": "accept", "scan_b": "accept"}


def test_clock_a_little_ahead_is_taken() -> None:
    """Clocks differ; a day ahead is a mistake."""
    at = (NOW + timedelta(hours=2)).isoformat()
    assert _read(_line(at=at))[0].status == "accepted"


def test_an_empty_verdict_withdraws_the_one_before_it() -> None:
    """The mask has none from then on, whatever older exports say; a later verdict counts again."""
    given = _line(at="2026-03-01T11:00:00Z")
    withdrawn = _read(_line(verdict="", at="2026-03-02T11:00:00Z"), earlier=_read(given))
    assert verdicts_on(MASKS, withdrawn) == {}
    assert [row.status for row in withdrawn] == ["accepted"]
    assert verdicts_on(MASKS, _read(given, earlier=withdrawn)) == {}
    again = _read(_line(verdict="reject", at="2026-03-03T11:00:00Z"), earlier=withdrawn)
    assert verdicts_on(MASKS, again) == {"scan_a": "reject"}
