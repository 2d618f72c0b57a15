"""The page of a collection as a reader uses it: sorted, filtered, paged, looked into, judged and exported."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tasks.core.panels import PALETTE, overlay
from tasks.core.phantoms import phantom_scan
from tasks.core.rows import ScanRow
from tasks.core.segmentation_page import segmentation_report, to_review
from tasks.io.formats.raster import write_png
from tests.browsers import chromium, opened
from tests.core.samples import DONE, DRIFT, FAILED, MANIFEST

pytestmark = pytest.mark.browser

N_SCANS = 120
SIDE_PX = 256
SERIOUS = {"serious", "critical"}


def _rows() -> list[ScanRow]:
    """Return scans of which every fourth is to be reviewed, and a rejected one."""
    rows = []
    for number in range(N_SCANS):
        is_flagged = number % 4 == 0
        changes = {
            "scan_id": f"scan_{number:03d}",
            "flags": ["low_quality"] if is_flagged else [],
            "lesion_voxels": 10 * number + 1,
            "quality": 0.2 + number / 200,
            "quality_low": 0.1,
            "quality_high": 0.9,
            "drift_score": 0.5,
            "n_slices": 9,
            "lesion_profile": [0, 1, 2, 3, 4, 3, 2, 1, 0],
            "mask_sha256": f"{number:064x}",
        }
        rows.append(DONE.model_copy(update=changes))
    odd = {"scan_id": 'odd, "name" <b>&%20', "flags": ["no_lung"], "quality": 0.1, "mask_sha256": "f" * 64}
    return [*rows, DONE.model_copy(update=odd), FAILED]


def _preview() -> bytes:
    """Return the preview of a phantom slice: as it is, and with its lesion outlined."""
    scan = phantom_scan(3, n_slices=1, size_px=SIDE_PX)
    image, mask = scan.image[0], scan.mask[0]
    halves = [overlay(image, prediction=np.zeros_like(mask)), overlay(image, prediction=mask)]
    return write_png(np.vstack(halves), PALETTE)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with pictures inside it and beside it."""
    folder, rows, picture = tmp_path_factory.mktemp("report"), _rows(), _preview()
    (folder / "previews").mkdir()
    for row in rows:
        (folder / "previews" / f"{row.scan_id}.png").write_bytes(picture)
    manifest = MANIFEST.model_copy(
        update={
            "counts": {"done": N_SCANS + 1, "skipped": 0, "deferred": 0, "failed": 1},
            "n_new_failures": 1,
            "drift": DRIFT,
            "warnings": ("drift: 2 of 9 scans look unlike the training data",),
        }
    )
    first = {row.scan_id: picture for row in to_review(rows)[:2]}
    path = folder / "report.html"
    path.write_text(segmentation_report(manifest, rows, pictures=first), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of this file."""
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The report, in a browser that has never seen it; it must raise no error and ask for nothing outside."""
    with opened(browser, report) as (shown, trouble):
        yield shown
        assert trouble == []


def _shown_ids(page: Page) -> list[str]:
    return page.locator("#table tbody .scan button").all_inner_texts()


def test_the_table_begins_with_what_is_to_be_reviewed_most_urgent_first(page: Page) -> None:
    """As ranked; the count says how many of all are shown."""
    assert _shown_ids(page) == [row.scan_id for row in to_review(_rows())]
    expect(page.locator("#count")).to_have_text("31 of 122 scans")


def test_a_column_sorts_both_ways_by_keyboard(page: Page) -> None:
    """The header says how; unknown values stay last either way."""
    page.select_option("#show", "all")
    header = page.get_by_role("button", name="Lesion size")
    header.press("Enter")
    assert _shown_ids(page)[:2] == ["scan_000", "scan_001"]
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    page.keyboard.press("Enter")
    assert _shown_ids(page)[:2] == ['odd, "name" <b>&%20', "scan_119"]
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
    page.get_by_role("button", name="no_lung").click()
    assert _shown_ids(page) == ['odd, "name" <b>&%20']
    page.select_option("#flag", "")
    page.select_option("#show", "failed")
    assert _shown_ids(page) == ["scan_failed"]


def test_a_picture_beside_the_page_is_shown_whatever_its_name(page: Page) -> None:
    """Characters with a meaning in addresses are encoded."""
    page.get_by_role("button", name="no_lung").click()
    page.locator(".thumb").click()
    image = page.locator("#strip img")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => image.naturalHeight)") == 2 * SIDE_PX


def test_outlines_are_switched_off_and_on(page: Page) -> None:
    """The same slice at the same place, with the lesion's outline in red and without."""
    page.locator(".thumb").first.click()
    strip = page.locator("#strip .half")
    page.locator("#strip img").evaluate("image => image.decode()")

    def n_red() -> int:
        pixels = np.array(Image.open(io.BytesIO(strip.screenshot())).convert("RGB")).astype(int)
        return int(((pixels[..., 0] > 180) & (pixels[..., 1] < 110)).sum())

    outlined = n_red()
    page.keyboard.press("o")
    assert outlined > 50
    assert n_red() == 0
    page.keyboard.press("o")
    assert n_red() == outlined


def test_one_key_is_one_verdict_and_all_are_exported(page: Page) -> None:
    """Verdicts name the mask that was looked at; pressed again a verdict is withdrawn; ids are quoted."""
    queue = to_review(_rows())
    page.locator(".thumb").first.click()
    for key in ("a", "n", "c", "n", "r", "n", "a", "a"):
        page.keyboard.press(key)
    page.keyboard.press("Escape")
    expect(page.locator("#count")).to_have_text("31 of 122 scans; 3 with a verdict")
    page.get_by_role("button", name="no_lung").click()
    page.locator(".thumb").click()
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.locator("#export").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert download.value.suggested_filename == "verdicts.csv"
    found = {row["scan_id"]: (row["verdict"], row["mask_sha256"]) for row in rows}
    given = dict(zip((row.scan_id for row in queue), ("accept", "correct", "reject"), strict=False))
    given['odd, "name" <b>&%20'] = "reject"
    shas = {row.scan_id: row.mask_sha256 for row in _rows()}
    assert found == {scan_id: (verdict, shas[scan_id]) for scan_id, verdict in given.items()}
    assert all(row["decided_at"].endswith("Z") for row in rows)


def test_verdicts_stay_in_the_browser_and_count_for_that_mask_alone(browser: Browser, report: Path) -> None:
    """Opened again they are there; of a mask that was made anew they are not."""
    with opened(browser, report) as (page, _):
        page.locator(".thumb").first.click()
        page.keyboard.press("a")
        page.reload()
        expect(page.locator("#count")).to_have_text("31 of 122 scans; 1 with a verdict")
        first = to_review(_rows())[0]
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
    rows = [row.model_copy(update={"scan_id": f"{row.scan_id}_{part}"}) for part in range(83) for row in _rows()]
    path = tmp_path / "report.html"
    path.write_text(segmentation_report(MANIFEST, rows[:10_000], pictures={}), encoding="utf-8")
    with opened(browser, path) as (page, _):
        page.get_by_role("button", name="Lesion size").click()
        expect(page.locator("#page")).to_have_text("Page 1 of 51")
        assert len(_shown_ids(page)) == 50
