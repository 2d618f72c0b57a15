"""The page of an evaluation as a browser shows it: tables sort by click and key, and nothing leaves the screen."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tasks.core.history import CURVES
from tasks.core.pages.evaluation import PatientPanel, evaluation_report
from tests.browsers import chromium, opened
from tests.core.samples import COMPARISON, DATASET, EVALUATION, MODEL

pytestmark = pytest.mark.browser

PICTURE = cv2.imencode(".png", np.zeros((256, 516), np.uint8))[1].tobytes()
DICES = {"a10": 0.5, "a9": None, "a2": 0.05, "a1": 0.9}
FIGURES = dict.fromkeys((*CURVES, "precision_recall", "reliability", "volumes"), PICTURE)


SERIOUS = {"serious", "critical"}
INK_AND_GROUND = "(({ color, backgroundColor }) => [color, backgroundColor])(getComputedStyle(document.body))"
N_LINES = """head => {
  const range = document.createRange();
  range.selectNodeContents(head);
  return range.getClientRects().length;
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with several patients on disk."""
    rows = [EVALUATION.per_patient[0] | {"patient_id": name, "dice": dice} for name, dice in DICES.items()]
    report = EVALUATION.model_copy(update={"per_patient": rows, "comparison": COMPARISON})
    panels = [PatientPanel("best", "a_long_id_of_a_patient_without_any_space", 0.5, PICTURE)]
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(evaluation_report(report, MODEL, DATASET, figures=FIGURES, panels=panels))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of this file."""
    with chromium() as started:
        yield started


def _patients(page: Page) -> list[str]:
    return page.locator("#by-patient tbody th").all_inner_texts()


def test_a_table_sorts_by_click_and_by_key(browser: Browser, report: Path) -> None:
    """Figures from the largest, then from the smallest, undefined last; names as people count; the head says so."""
    with opened(browser, report) as (page, trouble):
        assert _patients(page) == ["a1", "a10", "a2", "a9"]
        dice = page.locator("#by-patient thead button", has_text="Dice")
        dice.click()
        assert _patients(page) == ["a1", "a10", "a2", "a9"]
        expect(dice.locator("..")).to_have_attribute("aria-sort", "descending")
        page.keyboard.press("Enter")  # the head that was clicked has the focus
        assert _patients(page) == ["a2", "a10", "a1", "a9"]
        expect(dice.locator("..")).to_have_attribute("aria-sort", "ascending")
        page.locator("#by-patient thead button", has_text="patient").focus()
        page.keyboard.press("Space")
        assert _patients(page) == ["a1", "a2", "a9", "a10"]
        expect(dice.locator("..")).to_have_attribute("aria-sort", "none")
        assert trouble == []


@pytest.mark.parametrize("width_px", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_its_screen_and_its_colours(browser: Browser, report: Path, width_px: int, scheme: str) -> None:
    """No sideways scrolling, no message in the console, nothing fetched; axe finds nothing serious."""
    with opened(browser, report, width_px=width_px, scheme=scheme) as (page, trouble):
        assert page.evaluate("document.documentElement.scrollWidth") <= width_px
        of_body = page.evaluate(INK_AND_GROUND)
        bright = [sum(map(int, colour[4:-1].split(","))) for colour in of_body]
        assert (bright[0] > bright[1]) == (scheme == "dark")
        found = Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in SERIOUS] == []
        assert trouble == []


def test_no_head_of_one_word_is_broken_on_a_phone(browser: Browser, report: Path) -> None:
    """A word stands on one line, however narrow its column."""
    with opened(browser, report, width_px=390) as (page, _):
        heads = [head for head in page.locator("table.sortable thead button").all() if " " not in head.inner_text()]
        assert len(heads) > 10
        assert {head.inner_text(): head.evaluate(N_LINES) for head in heads if head.evaluate(N_LINES) != 1} == {}
