"""The page of an evaluation as a browser shows it: tables sort by click and key, and nothing leaves the screen."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tasks.core.evaluation_page import PatientPanel, evaluation_report
from tasks.core.history import CURVES
from tests.core.samples import COMPARISON, DATASET, EVALUATION, MODEL

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

PICTURE = cv2.imencode(".png", np.zeros((256, 516), np.uint8))[1].tobytes()
DICES = {"a10": 0.5, "a9": None, "a2": 0.05, "a1": 0.9}
FIGURES = dict.fromkeys((*CURVES, "precision_recall", "reliability", "volumes"), PICTURE)


@pytest.fixture(scope="module")
def page_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with several patients on disk."""
    rows = [EVALUATION.per_patient[0] | {"patient_id": name, "dice": dice} for name, dice in DICES.items()]
    report = EVALUATION.model_copy(update={"per_patient": rows, "comparison": COMPARISON})
    panels = [PatientPanel("best", "a_long_id_of_a_patient_without_any_space", 0.5, PICTURE)]
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(evaluation_report(report, MODEL, DATASET, figures=FIGURES, panels=panels))
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:  # Any: Playwright's browser, absent where the package is
    """Chromium without a window."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def _patients(page: Any) -> list[str]:  # Any: as above
    return page.locator("#by-patient tbody th").all_inner_texts()


def test_a_table_sorts_by_click_and_by_key(browser: Any, page_uri: str) -> None:
    """Figures from the largest, then from the smallest, undefined last; names as people count; the head says so."""
    page = browser.new_page()
    page.goto(page_uri)
    assert _patients(page) == ["a1", "a10", "a2", "a9"]
    dice = page.locator("#by-patient thead button", has_text="Dice")
    dice.click()
    assert _patients(page) == ["a1", "a10", "a2", "a9"]
    assert dice.locator("..").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")  # the head that was clicked has the focus
    assert _patients(page) == ["a2", "a10", "a1", "a9"]
    assert dice.locator("..").get_attribute("aria-sort") == "ascending"
    page.locator("#by-patient thead button", has_text="patient").focus()
    page.keyboard.press("Space")
    assert _patients(page) == ["a1", "a2", "a9", "a10"]
    assert dice.locator("..").get_attribute("aria-sort") == "none"
    page.close()


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_its_screen_and_its_colours(browser: Any, page_uri: str, width: int, scheme: str) -> None:
    """No sideways scrolling, no message in the console, nothing fetched, and text in contrast to the ground."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_uri)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    ink, ground = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    bright = [sum(map(int, colour[4:-1].split(","))) for colour in (ink, ground)]
    assert abs(bright[0] - bright[1]) > 450
    assert (bright[0] > bright[1]) == (scheme == "dark")
    page.close()
