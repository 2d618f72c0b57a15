"""An opened scan of a report: its slices with numbers, sides and outlines, enlarged, and closed again."""

import io
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tasks.core.pages.segmentation import to_review
from tests.browsers import opened
from tests.core.pages.collection_report import ODD_ID, SIDE_PX, report_rows

pytestmark = pytest.mark.browser

PHONE_PX = 390
SERIOUS = {"serious", "critical"}


def _pixels(locator: Locator) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(locator.screenshot())).convert("RGB")).astype(int)


def _open_volume(page: Page) -> list[Locator]:
    """Open a volume without marks of its sides, and return the windows on its slices."""
    page.get_by_role("button", name="Open scan_000").click()
    page.add_style_tag(content=".side { display: none }")
    windows = page.locator("#strip .crop").all()
    for window in windows:
        window.locator("img").evaluate("image => image.decode()")
    return windows


def _ids() -> list[str]:
    return [row.scan_id for row in to_review(report_rows())]


def _focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent"))


def test_slices_of_a_volume_have_their_numbers_and_sides(page: Page) -> None:
    """The patient's right is on the left, as a radiologist reads."""
    page.get_by_role("button", name="Open scan_000").click()
    assert page.locator(".slice .caption").all_inner_texts() == [f"slice {n} of 9" for n in (3, 5, 6)]
    right, left = page.locator(".slice .R").first.bounding_box(), page.locator(".slice .L").first.bounding_box()
    assert right
    assert left
    assert right["x"] + 100 < left["x"]
    assert "R: the patient's right." in page.locator("#legend").inner_text()


def test_a_picture_without_orientation_has_no_sides_whatever_its_name(page: Page) -> None:
    """Nothing is guessed; characters with a meaning in addresses are encoded, and a slice has no number."""
    page.get_by_role("button", name="no lung").click()
    page.locator(".thumb").click()
    image = page.locator("#strip img")
    assert image.evaluate("image => image.decode().then(() => image.naturalHeight)") == SIDE_PX
    expect(page.locator("#strip .side")).to_have_count(0)
    expect(page.locator("#legend")).to_contain_text("Which side is the patient's right is not known.")
    assert page.locator("#scan-title").inner_text() == ODD_ID
    assert page.locator(".slice .caption").all_inner_texts() == [""]


def test_each_window_shows_its_slice_and_no_gap(page: Page) -> None:
    """The windows on one picture are alike, as the slices of this phantom are."""
    first, *others = (_pixels(window) for window in _open_volume(page))
    height, width = first.shape[0] - 4, first.shape[1] - 4
    for other in others:
        assert np.abs(first[4:height, 4:width] - other[4:height, 4:width]).mean() < 3


def test_outlines_are_taken_off_and_put_on(page: Page) -> None:
    """The slice is grey without them, with what lay below, and the same as before with them."""
    window = _open_volume(page)[0]
    outlined = _pixels(window)
    is_red = (outlined[..., 0] > 180) & (outlined[..., 1] < 110)
    assert is_red.sum() > 50
    page.keyboard.press("o")
    plain = _pixels(window)
    assert (plain.max(axis=2) - plain.min(axis=2)).max() <= 2
    is_near = outlined.max(axis=2) - outlined.min(axis=2) > 2
    assert np.abs(plain[~is_near] - outlined[~is_near]).mean() < 0.2
    assert plain[is_red].min() > 20  # the lesion's own grey
    page.keyboard.press("o")
    np.testing.assert_array_equal(_pixels(window), outlined)


def test_a_slice_is_enlarged_by_key_and_the_focus_goes_back_to_it(page: Page) -> None:
    """Enter opens it large, arrows turn to its neighbours, Esc closes it alone."""
    page.get_by_role("button", name="Open scan_000").click()
    window = page.get_by_role("button", name="Enlarge slice 5 of 9")
    small = window.bounding_box()
    window.press("Enter")
    expect(page.locator("#large-title")).to_have_text("scan_000, slice 5 of 9")
    large = page.locator("#large .crop").bounding_box()
    assert small
    assert large
    assert large["width"] > 1.5 * small["width"]
    page.keyboard.press("ArrowRight")
    expect(page.locator("#large-title")).to_have_text("scan_000, slice 6 of 9")
    page.keyboard.press("Escape")
    expect(page.locator("#large")).not_to_be_visible()
    expect(page.get_by_role("button", name="Enlarge slice 6 of 9")).to_be_focused()
    expect(page.locator("#scan")).to_be_visible()


def test_a_slice_is_enlarged_by_a_click_and_closed_by_another(page: Page) -> None:
    """Outlines are switched in the large picture as well; axe finds nothing serious in it."""
    page.get_by_role("button", name="Open scan_000").click()
    page.get_by_role("button", name="Enlarge slice 3 of 9").click()
    found = Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in SERIOUS] == []
    page.keyboard.press("o")
    expect(page.locator("#contours")).to_have_attribute("aria-pressed", "false")
    page.locator("#large .crop").click()
    expect(page.locator("#large")).not_to_be_visible()
    expect(page.get_by_role("button", name="Enlarge slice 3 of 9")).to_be_focused()


def test_the_focus_goes_back_to_the_row_of_the_scan(page: Page) -> None:
    """To the one that was opened, or turned to since."""
    ids = _ids()
    page.locator(".thumb").nth(3).click()
    page.keyboard.press("Escape")
    expect(page.locator("#table tbody tr").nth(3).locator(".scan button")).to_be_focused()
    assert _focused(page) == ids[3]
    page.keyboard.press("Enter")
    page.keyboard.press("n")
    page.keyboard.press("Escape")
    expect(page.locator("#table tbody tr").nth(4).locator(".scan button")).to_be_focused()
    assert _focused(page) == ids[4]


def test_the_focus_stays_in_the_list_when_a_verdict_takes_the_scan_off_it(page: Page) -> None:
    """The next scan has moved to its place."""
    page.select_option("#show", "undecided")
    page.locator(".thumb").nth(1).click()
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    expect(page.locator("#table tbody tr").nth(1).locator(".scan button")).to_be_focused()
    assert _focused(page) == _ids()[2]


def test_on_a_phone_verdicts_need_no_sideways_scrolling(browser: Browser, report: Path) -> None:
    """Neither in the list nor in an opened scan; the list keeps size, expected Dice and flags."""
    with opened(browser, report, width_px=PHONE_PX) as (page, trouble):
        page.locator(".thumb").first.click()
        for button in page.locator("[data-verdict]").all():
            box = button.bounding_box()
            assert box
            assert 0 <= box["x"] <= PHONE_PX - box["width"]
        page.keyboard.press("a")
        page.keyboard.press("Escape")
        table = page.get_by_label("Table of scans")
        assert table.evaluate("element => element.scrollWidth <= element.clientWidth")
        cells = page.locator("#table tbody tr").first.locator("td:visible")
        boxes = [cell.bounding_box() for cell in cells.all()]
        assert len(boxes) == 6
        assert all(box and box["x"] + box["width"] <= PHONE_PX for box in boxes)
        expect(page.locator("td.verdict").first).to_have_text("accept")
        assert trouble == []
