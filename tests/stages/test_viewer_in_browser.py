"""The viewer in Chromium: from disk, without network, and with every pixel where SimpleITK puts it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from gzip import decompress as gunzip
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from tasks.core.intensity import hu_to_uint8
from tasks.core.pages.segmentation import segmentation_report
from tasks.core.verdicts import read_verdicts
from tests.core.samples import MANIFEST
from tests.itk_files import itk_grid, itk_image
from tests.viewer_pages import GRIDS, HOSTILE, MODEL_HU, ROWS, SHAS, Opened, is_green, is_red, open_page, viewer_scans
from tests.viewer_planes import place_crosshair, require_register
from tests.viewer_scans import DIRECTIONS, TRUTH, anatomy, read_as_viewer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium with WebGL 2 in software."""
    pytest.importorskip("playwright.sync_api")
    from tests.browsers import chromium

    with chromium(*SOFTWARE_GL) as started:
        yield started


@pytest.fixture(scope="module")
def one_page(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The page of all scans, opened once."""
    with open_page(browser, tmp_path_factory.mktemp("viewer") / "viewer.html", viewer_scans()) as opened:
        assert opened.requests == [opened.page.url]  # the file itself, and nothing else
        yield opened


@pytest.fixture
def opened(one_page: Opened) -> Iterator[Opened]:
    """The page with its first scan as when it is opened; it must report no error, and ask for nothing."""
    one_page.page.set_viewport_size({"width": 1440, "height": 900})
    one_page.show("as read")
    one_page.page.locator("#opacity").fill("15")
    one_page.switch(overlay=True, fill=True, crosshair=True)
    one_page.page.evaluate("document.activeElement.blur()")
    one_page.page.keyboard.press("1")
    one_page.page.keyboard.press("w")
    one_page.requests.clear()
    yield one_page
    assert (one_page.reported, one_page.requests) == ([], [])


def test_markup_in_a_name_or_caption_stays_text(opened: Opened) -> None:
    """A scan is listed and shown under its name, whatever that holds."""
    opened.show(HOSTILE)
    assert opened.text("scan") == HOSTILE
    assert opened.page.locator("nav button span").last.inner_text() == HOSTILE


def test_page_runs_no_other_script_and_reaches_no_network(opened: Opened) -> None:
    """Its policy blocks what a script in the page asks the network for, and any script that is put into it."""
    blocked = opened.page.evaluate(
        "new Promise((done) => { const found = [];"
        " document.addEventListener('securitypolicyviolation', (event) => {"
        "   found.push(event.effectiveDirective); if (found.length === 3) done(found.sort()); });"
        " fetch('http://127.0.0.1:9/x').catch(() => null);"
        " new Image().src = 'http://127.0.0.1:9/y.png';"
        " document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'})); })"
    )
    assert blocked == ["connect-src", "img-src", "script-src-elem"]
    assert opened.page.evaluate("window.ran") is None
    opened.reported.clear()
    opened.requests.clear()


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_planes_of_a_phantom_are_in_register(opened: Opened, directions: str) -> None:
    """All three planes and the mask lie where SimpleITK resamples them to, for any direction of the stored axes."""
    grid = GRIDS[directions]
    opened.show(directions)
    require_register(opened, itk_image(anatomy(grid), grid), TRUTH.mask(grid), grid)


@pytest.mark.data
def test_planes_of_a_dicom_scan_are_in_register(browser: "Browser", tmp_path: Path, data_folder: Path) -> None:
    """A real series and a mask on it, read by SimpleITK itself: all three planes lie where it resamples them to."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(data_folder / "dicom" / "A0002_B40f")))
    image = reader.Execute()
    grid = itk_grid(image)
    stored = hu_to_uint8(SimpleITK.GetArrayFromImage(image), MODEL_HU)
    k, row, column = np.indices(stored.shape, sparse=True)
    mask = ((((k - 17) / 4) ** 2 + ((row - 250) / 50) ** 2 + ((column - 150) / 40) ** 2) < 1).astype(np.uint8)
    scan = read_as_viewer(stored, mask, grid, 256, window=MODEL_HU)
    with open_page(browser, tmp_path / "viewer.html", [scan]) as opened:
        require_register(opened, itk_image(stored, grid), mask, grid)


def test_values_and_windows_are_in_hu(opened: Opened) -> None:
    """The first window is the model's, presets are others, and the crosshair has the value that is stored there."""
    keys = opened.page.keyboard

    def window() -> tuple[str, str, list[str]]:
        pressed = opened.page.locator(".preset[aria-pressed=true]").all_inner_texts()
        return opened.text("level-shown"), opened.text("width-shown"), pressed

    assert window() == ("-259 HU", "1,530 HU", ["Model (5)"])
    keys.press("7")
    assert window() == ("40 HU", "400 HU", ["Mediastinum (7)"])
    opened.page.get_by_role("button", name="Lung (6)").click()
    assert window() == ("-600 HU", "1,500 HU", ["Lung (6)"])
    opened.page.locator("#level").fill("-500")
    assert window() == ("-500 HU", "1,500 HU", [])
    keys.press("w")
    assert window() == ("-259 HU", "1,530 HU", ["Model (5)"])
    stored = nib.Nifti1Image.from_bytes(gunzip(viewer_scans()[0].image)).get_fdata()
    place_crosshair(opened, [5, 40, 61], stored.T.shape)
    assert opened.text("value") == f"{stored[61, 40, 5]:.0f} HU"


def test_keys_and_controls_do_what_they_say(opened: Opened) -> None:
    """Keys change scan, slice, plane and mask; sliders and a right-button drag change the window; the wheel scrolls."""
    page, keys = opened.page, opened.page.keyboard
    for key in ("n", "j", "k", "ArrowRight", "p"):  # without waiting: the last one counts
        keys.press(key)
    opened.wait()
    assert opened.text("scan") == page.locator("nav button[aria-current] span").inner_text() == list(GRIDS)[1]
    page.locator("#crosshair").uncheck()  # arrows are the page's, not the box's
    first = _slice(opened)
    keys.press("ArrowUp")
    assert _slice(opened) == first + 1
    keys.press("2")
    assert page.evaluate("viewer.screenSlices.map((tile) => tile.axCorSag)") == [0]
    box = opened.canvas.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.wheel(0, 100)
    page.wait_for_function(f"document.getElementById('slice-shown').value.startsWith('{first} ')")
    keys.press("o")
    plain = opened.picture()
    page.mouse.down(button="right")
    page.mouse.move(middle[0] + 40, middle[1] + 60, steps=4)
    page.mouse.up(button="right")
    assert opened.text("level-shown") != "-259 HU"
    assert not np.array_equal(opened.picture(), plain)
    keys.press("w")
    np.testing.assert_array_equal(opened.picture(), plain)
    page.locator("#width").fill("500")
    assert opened.picture().std() > 1.1 * plain.std()


def _slice(opened: Opened) -> int:
    return int(opened.text("slice-shown").split()[0])


def test_masks_are_outlined_each_in_its_colour(opened: Opened) -> None:
    """The prediction is red, with or without a fill; its correction is green; each has a key, and its place."""
    opened.show("corrected")
    keys = opened.page.keyboard
    keys.press("2")
    keys.press("x")
    opened.page.locator("#opacity").fill("60")
    filled = opened.picture()
    keys.press("f")
    outlined = opened.picture()
    assert 0.02 * is_red(filled).sum() < is_red(outlined).sum() < 0.3 * is_red(filled).sum()
    assert _extent(is_red(outlined)) == pytest.approx(_extent(is_red(filled)), abs=3)
    assert is_green(outlined).sum() > 200
    keys.press("o")
    alone = opened.picture()
    assert is_red(alone).sum() == 0
    assert is_green(alone).sum() >= is_green(outlined).sum()
    keys.press("g")
    assert is_green(opened.picture()).sum() == 0
    keys.press("g")
    opened.show("as read")
    assert not opened.page.get_by_text("Correction (g)").is_visible()


def _extent(mask: np.ndarray) -> list[int]:
    """Return the first and last row and column of a mask."""
    rows, columns = np.nonzero(mask)
    return [int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())]


def test_verdicts_are_those_of_the_report(opened: Opened, tmp_path: Path) -> None:
    """The keys a, c and r are verdicts, which a review reads, also one taken back, and which the report shows, too."""
    page, keys = opened.page, opened.page.keyboard
    for key in ("a", "n", "c", "n", "r", "n", "a", "a"):
        keys.press(key)
        opened.wait()
    assert page.locator("nav .verdict").all_inner_texts()[:4] == ["accept", "correct", "reject", ""]
    opened.show("flipped")
    assert page.locator("[data-verdict=reject]").get_attribute("aria-pressed") == "true"
    with page.expect_download() as download:
        page.locator("#export").click()
    content = Path(download.value.path()).read_bytes()
    found = read_verdicts(content, masks=SHAS, earlier=[], now=datetime.now(UTC))
    assert {row.scan_id: row.verdict for row in found} == dict(
        zip(GRIDS, ("accept", "correct", "reject", None), strict=False)
    )
    report = tmp_path / "report.html"
    report.write_text(segmentation_report(MANIFEST, list(ROWS.values()), pictures={}), encoding="utf-8")
    other = page.context.new_page()
    other.goto(report.as_uri())
    assert "; 3 with a verdict" in other.locator("#count").inner_text()
    other.close()


def test_picture_is_shown_as_it_is_read_in_grey_levels(opened: Opened) -> None:
    """A slice without a position has one plane, no sides, no value in HU and no window of CT."""
    opened.show("picture")
    opened.switch(crosshair=False)
    shown = opened.picture().mean(axis=-1)
    left, side = (shown.shape[1] - shown.shape[0]) // 2, shown.shape[0]
    square = shown[:, left : left + side]
    assert square[side // 8 : side // 4, side // 8 : 3 * side // 8].min() > 190
    assert square[side // 2 :].max() < 10
    assert shown[:, :left].max() < 10  # where the letters of the sides would be
    assert opened.page.locator("input[name=plane]:disabled").count() == 3
    assert (opened.text("level-shown"), opened.text("width-shown")) == ("128 grey levels", "255 grey levels")
    assert opened.text("value").startswith("grey level ")
    assert not opened.page.locator(".preset").first.is_visible()
    opened.page.keyboard.press("7")
    assert opened.text("width-shown") == "255 grey levels"
    opened.show("oblique")
    assert opened.page.locator("input[name=plane]:checked").get_attribute("value") == "3"  # as before


def test_scan_that_cannot_be_shown_gets_no_verdict(opened: Opened) -> None:
    """No picture of another scan stands in its place, and keys go on to the next one alone."""
    opened.show("damaged", "failed")
    assert "cannot be shown" in opened.text("status")
    assert opened.page.evaluate("viewer.volumes.length") == 0
    opened.page.keyboard.press("c")
    assert opened.page.locator("[aria-current] .verdict").inner_text() == ""
    opened.page.keyboard.press("n")
    opened.wait()
    assert opened.text("scan") == HOSTILE
    opened.reported.clear()


def test_dropped_file_is_not_opened(opened: Opened) -> None:
    """A file dropped on the picture, or beside it, changes nothing."""
    for selector in ("#canvas", "nav"):
        is_left_alone = opened.page.evaluate(
            "(selector) => { const data = new DataTransfer(); data.items.add(new File(['x'], 'other.nii'));"
            " const event = new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});"
            " return !document.querySelector(selector).dispatchEvent(event); }",
            selector,
        )
        assert is_left_alone, selector
    opened.page.wait_for_timeout(100)
    assert opened.page.evaluate("viewer.volumes.length") == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_page_fits_the_screen_and_is_accessible(opened: Opened, width: int, height: int, scheme: str) -> None:
    """Nothing sticks out sideways, the picture is large, colours follow the system's, and axe finds nothing serious."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened.page
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    opened.show("corrected")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.canvas.evaluate("(canvas) => canvas.getBoundingClientRect().top") >= 0  # in view
    box = opened.canvas.bounding_box()
    assert box is not None
    assert box["width"] > 0.7 * width
    assert box["height"] > 0.5 * height
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
    page.evaluate("window.scrollTo(0, 0)")
    assert page.get_by_text("Not for diagnosis.").is_visible()
    found = Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")] == []
