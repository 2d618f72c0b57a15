"""The page of a collection as a reader uses it: sorted, filtered, paged, looked into, judged and exported."""

import csv
import io
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tasks.core.pages.segmentation import segmentation_report, to_review
from tests.browsers import opened
from tests.core.pages.collection_report import ODD_ID, report_rows
from tests.core.samples import DONE, MANIFEST

pytestmark = pytest.mark.browser

SERIOUS = {"serious", "critical"}


def _shown_ids(page: Page) -> list[str]:
    return page.locator("#table tbody .scan button").all_inner_texts()


def test_the_table_begins_with_what_is_to_be_reviewed_most_urgent_first(page: Page) -> None:
    """As ranked; the count says how many of all are shown."""
    assert _shown_ids(page) == [row.scan_id for row in to_review(report_rows())]
    expect(page.locator("#count")).to_have_text("31 of 122 scans")


def test_a_column_sorts_both_ways_by_keyboard(page: Page) -> None:
    """The header says how; unknown values stay last either way."""
    page.select_option("#show", "all")
    header = page.get_by_role("button", name="Lesion size")
    header.press("Enter")
    assert _shown_ids(page)[:2] == ["scan_000", "scan_001"]
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    page.keyboard.press("Enter")
    assert _shown_ids(page)[:2] == [ODD_ID, "scan_119"]
    page.locator("#next").click()
    page.locator("#next").click()
    assert _shown_ids(page)[-1] == "scan_failed"


def test_scans_are_filtered_and_paged(page: Page) -> None:
    """By kind, by flag, and by what their id contains; a filter begins at the first page."""
    page.select_option("#show", "all")
    expect(page.locator("#page")).to_have_text("Page 1 of 3")
    page.locator("#next").click()
    assert len(_shown_ids(page)) == 50
    page.fill("#text", "SCAN_11")
    assert _shown_ids(page) == [f"scan_11{n}" for n in (2, 6, 0, 1, 3, 4, 5, 7, 8, 9)]
    page.fill("#text", "")
    page.get_by_role("button", name="no lung").click()
    assert _shown_ids(page) == [ODD_ID]
    page.select_option("#flag", "")
    page.select_option("#show", "failed")
    assert _shown_ids(page) == ["scan_failed"]


def test_one_key_is_one_verdict_and_all_are_exported(page: Page) -> None:
    """They name the mask that was looked at; ids are quoted; pressed again a key withdraws, also what was exported."""
    queue = to_review(report_rows())
    page.locator(".thumb").first.click()
    for key in ("a", "n", "c", "n", "r", "n", "a", "a"):
        page.keyboard.press(key)
    page.keyboard.press("Escape")
    expect(page.locator("#count")).to_have_text("31 of 122 scans; 3 with a verdict")
    page.get_by_role("button", name="no lung").click()
    page.locator(".thumb").click()
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.locator("#export").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert download.value.suggested_filename == "verdicts.csv"
    found = {row["scan_id"]: (row["verdict"], row["mask_sha256"]) for row in rows}
    given = dict(zip((row.scan_id for row in queue), ("accept", "correct", "reject", ""), strict=False))
    given[ODD_ID] = "reject"
    shas = {row.scan_id: row.mask_sha256 for row in report_rows()}
    assert found == {scan_id: (verdict, shas[scan_id]) for scan_id, verdict in given.items()}
    assert all(row["decided_at"].endswith("Z") for row in rows)


def test_verdicts_stay_in_the_browser_and_count_for_that_mask_alone(browser: Browser, report: Path) -> None:
    """Opened again they are there; of a mask that was made anew they are not."""
    with opened(browser, report) as (page, _):
        page.locator(".thumb").first.click()
        page.keyboard.press("a")
        page.reload()
        expect(page.locator("#count")).to_have_text("31 of 122 scans; 1 with a verdict")
        first = to_review(report_rows())[0]
        report.with_name("later.html").write_text(report.read_text().replace(str(first.mask_sha256), "e" * 64))
        page.goto(report.with_name("later.html").as_uri())
        expect(page.locator("#count")).to_have_text("31 of 122 scans")


def test_verdicts_of_two_tabs_add_up(browser: Browser, report: Path) -> None:
    """A tab shows what another has decided, and does not write over it."""
    with opened(browser, report) as (first, _):
        second = first.context.new_page()
        second.goto(report.as_uri())
        for number, tab in enumerate((first, second)):
            tab.locator(".thumb").nth(number).click()
            tab.keyboard.press("a")
        for tab in (first, second):
            tab.keyboard.press("Escape")
            expect(tab.locator("#count")).to_have_text("31 of 122 scans; 2 with a verdict")


def test_an_open_scan_stays_open_whatever_another_tab_decides(browser: Browser, report: Path) -> None:
    """A verdict there takes a scan off the list of those to decide, not the open one from under the reader."""
    with opened(browser, report) as (page, trouble):
        page.select_option("#show", "undecided")
        ids = _shown_ids(page)
        page.locator(".thumb").nth(len(ids) - 1).click()
        other = page.context.new_page()
        other.goto(report.as_uri())
        other.locator(".thumb").first.click()
        other.keyboard.press("a")
        page.keyboard.press("r")
        expect(page.locator("#scan-title")).to_have_text(ids[-1])
        page.keyboard.press("Escape")
        expect(page.locator("#count")).to_have_text("29 of 122 scans; 2 with a verdict")
        assert trouble == []


def test_verdicts_stay_where_nothing_can_be_stored(browser: Browser, report: Path) -> None:
    """In a private window the page keeps every verdict until it is closed."""
    with opened(browser, report) as (page, trouble):
        page.evaluate("void (Storage.prototype.setItem = () => { throw new Error('full') })")
        page.locator(".thumb").first.click()
        for key in ("a", "n", "c"):
            page.keyboard.press(key)
        page.keyboard.press("Escape")
        expect(page.locator("#count")).to_have_text("31 of 122 scans; 2 with a verdict")
        assert trouble == []


def test_no_id_is_a_formula_in_a_spreadsheet(browser: Browser, tmp_path: Path) -> None:
    """An apostrophe before it makes it text, which the review takes off again."""
    row = DONE.model_copy(update={"scan_id": "=1+1", "flags": ["no_lung"]})
    path = tmp_path / "report.html"
    path.write_text(segmentation_report(MANIFEST, [row], pictures={}), encoding="utf-8")
    with opened(browser, path) as (page, _):
        page.locator("#table tbody .scan button").click()
        page.keyboard.press("a")
        page.keyboard.press("Escape")
        with page.expect_download() as download:
            page.locator("#export").click()
        assert Path(download.value.path()).read_text().splitlines()[1].startswith('"\'=1+1",')


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [1440, 390])
def test_the_page_fits_its_window_and_is_accessible(browser: Browser, report: Path, width_px: int, scheme: str) -> None:
    """Nothing is cut off to the right; axe finds nothing serious, on the page and in an opened scan."""
    with opened(browser, report, width_px=width_px, scheme=scheme) as (page, trouble):
        for _ in range(2):
            assert page.evaluate("document.documentElement.scrollWidth") <= width_px
            found = Axe().run(page).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in SERIOUS] == []
            if not page.locator("dialog[open]").count():
                page.locator(".thumb").first.click()
        assert trouble == []


def test_ten_thousand_scans_are_shown_a_page_at_a_time(browser: Browser, tmp_path: Path) -> None:
    """The table is there, answers to a sort, and holds one page of them."""
    rows = [row.model_copy(update={"scan_id": f"{row.scan_id}_{part}"}) for part in range(83) for row in report_rows()]
    path = tmp_path / "report.html"
    path.write_text(segmentation_report(MANIFEST, rows[:10_000], pictures={}), encoding="utf-8")
    with opened(browser, path) as (page, _):
        page.get_by_role("button", name="Lesion size").click()
        expect(page.locator("#page")).to_have_text("Page 1 of 51")
        assert len(_shown_ids(page)) == 50
