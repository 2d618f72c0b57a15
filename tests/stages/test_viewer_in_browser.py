"""The viewer in Chromium: from disk, without network, and with every pixel where SimpleITK puts it."""

import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from tasks.core.config.intensity import HuConfig
from tasks.core.intensity import hu_to_uint8
from tasks.core.viewer import ViewerScan, viewer_page
from tasks.core.volumes import Grid
from tasks.stages.viewer_volumes import PICTURE_AFFINE, viewer_scan
from tests.core.samples import DONE
from tests.itk_files import itk_grid, itk_image
from tests.viewer_scans import DIRECTIONS, TRUTH, anatomy, grid_of, read_as_viewer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser
SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SIZE_PX = 128
MARGIN_PX = 12
"""Border of a plane that is not compared: SimpleITK has no values beyond the centres of the outermost voxels."""
HOSTILE = "</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium with WebGL 2 in software."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not on this machine")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=SOFTWARE_GL)
        yield started
        started.close()


@dataclass
class Opened:
    """Page of the viewer, and what its browser reported of it.

    Attributes:
        page: The page.
        reported: Messages of its console, errors and dialogs.
        requests: Addresses asked for.
    """

    page: "Page"
    reported: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def canvas(self) -> "Locator":
        """The canvas."""
        return self.page.locator("#canvas")

    def picture(self) -> np.ndarray:
        """Return what the canvas shows, `(H, W, 3)`."""
        self.page.wait_for_timeout(150)
        content = self.canvas.screenshot()
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), float)

    def wait(self) -> None:
        """Wait until a scan is shown."""
        self.page.wait_for_selector("body[data-state=shown]", state="attached", timeout=60_000)


def _open(
    browser: "Browser",
    folder: Path,
    scans: list[ViewerScan],
    *,
    width: int = 1440,
    height: int = 900,
    scheme: str = "light",
) -> Opened:
    path = folder / "viewer.html"
    path.write_text(viewer_page(scans))
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    opened = Opened(page)
    page.on("console", lambda message: opened.reported.append(message.text))
    page.on("pageerror", lambda error: opened.reported.append(str(error)))
    page.on("dialog", lambda dialog: (opened.reported.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: opened.requests.append(request.url))
    page.goto(path.as_uri())
    opened.wait()
    return opened


def _phantom(directions: str = "as read", scan_id: str = "scan") -> tuple[ViewerScan, np.ndarray, Grid]:
    """Return a scan, its source and the grid of that."""
    grid = grid_of((24, 160, 192), DIRECTIONS[directions], (4.0, 0.65, 0.6))
    stored = anatomy(grid)
    scan = read_as_viewer(stored, TRUTH.mask(grid), grid, SIZE_PX)
    return ViewerScan(scan_id, scan.caption, scan.image, scan.mask), stored, grid


def test_page_opens_from_disk_without_network_or_errors(browser: "Browser", tmp_path: Path) -> None:
    """Nothing but the file itself is asked for, nothing is reported, and markup in a caption stays text."""
    scan, _, _ = _phantom()
    opened = _open(browser, tmp_path, [ViewerScan(HOSTILE, HOSTILE, scan.image, scan.mask), scan])
    opened.page.keyboard.press("n")
    opened.wait()
    assert opened.requests == [(tmp_path / "viewer.html").as_uri()]
    assert opened.reported == []
    assert opened.page.locator("nav button span").first.inner_text() == HOSTILE


def test_page_runs_no_other_script_and_reaches_no_network(browser: "Browser", tmp_path: Path) -> None:
    """Its policy blocks what a script in the page asks the network for, and any script that is put into it."""
    opened = _open(browser, tmp_path, [_phantom()[0]])
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


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_planes_of_a_phantom_are_in_register(browser: "Browser", tmp_path: Path, directions: str) -> None:
    """All three planes and the mask lie where SimpleITK resamples them to, for any direction of the stored axes."""
    scan, stored, grid = _phantom(directions)
    _require_register(_open(browser, tmp_path, [scan]), itk_image(stored, grid), TRUTH.mask(grid), grid)


@pytest.mark.data
def test_planes_of_a_dicom_scan_are_in_register(browser: "Browser", tmp_path: Path, data_folder: Path) -> None:
    """A real series and a mask on it, read by SimpleITK itself: all three planes lie where it resamples them to."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(data_folder / "dicom" / "A0002_B40f")))
    image = reader.Execute()
    grid = itk_grid(image)
    stored = hu_to_uint8(SimpleITK.GetArrayFromImage(image), HuConfig())
    k, row, column = np.indices(stored.shape)
    mask = ((((k - 17) / 4) ** 2 + ((row - 250) / 50) ** 2 + ((column - 150) / 40) ** 2) < 1).astype(np.uint8)
    scan = viewer_scan(DONE, grid.to_reading(stored), grid.to_reading(mask), grid.affine, 256)
    _require_register(_open(browser, tmp_path, [scan]), itk_image(stored, grid), mask, grid)


def _require_register(opened: Opened, source: SimpleITK.Image, mask: np.ndarray, grid: Grid) -> None:
    """Require that what is shown is what SimpleITK finds at the same places of the source."""
    read = grid.to_reading(mask)
    voxel = [round(float(place)) for place in np.argwhere(read).mean(axis=0)]
    _place_crosshair(opened, voxel, read.shape)
    tiles = opened.page.evaluate("viewer.screenSlices.map((tile) => [tile.axCorSag, ...tile.leftTopWidthHeight])")
    assert sorted(tile[0] for tile in tiles) == [0, 1, 2]
    opened.page.locator("#crosshair").uncheck()
    opened.page.locator("#overlay").uncheck()
    grey = opened.picture()
    opened.page.locator("#overlay").check()
    coloured = opened.picture()
    for plane, left, top, width, height in tiles:
        size = int(width), int(height)
        box = np.s_[round(top) : round(top) + size[1], round(left) : round(left) + size[0]]
        place = _plane(grid.as_read(), int(plane), voxel, size)
        inner = np.s_[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        expected = _resampled(source, place, SimpleITK.sitkLinear)[inner]
        shown = grey[box].mean(axis=-1)[inner]
        correlation = _correlation(shown, expected)
        assert correlation > 0.98, (plane, correlation)
        for shift in (-4, 4):
            for axis in (0, 1):
                assert _correlation(np.roll(shown, shift, axis), expected) < correlation, (plane, shift, axis)
        lesion = _resampled(itk_image(mask, grid), place, SimpleITK.sitkNearestNeighbor) > 0
        is_red = coloured[box][..., 0] - coloured[box][..., 1] > 40
        np.testing.assert_allclose(_centre(is_red), _centre(lesion), atol=2, err_msg=f"plane {plane}")
        assert is_red.sum() == pytest.approx(lesion.sum(), rel=0.15)


def _place_crosshair(opened: Opened, voxel: list[int], shape: tuple[int, ...]) -> None:
    """Show the planes through the centre of a voxel of the source, in reading orientation."""
    k, row, column = ((place + 0.5) / n for place, n in zip(voxel, shape, strict=True))
    opened.page.evaluate(
        "(place) => { viewer.scene.crosshairPos = place; viewer.drawScene(); }", [1 - column, 1 - row, k]
    )


def _plane(read: Grid, plane: int, voxel: list[int], size: tuple[int, int]) -> SimpleITK.Image:
    """Return the pixels of a plane in space: the whole slice as a radiologist has it, head or front at the top."""
    n_slices, height, width = read.shape
    across = {0: ([0, 0, 1], width), 1: ([0, 0, 1], width), 2: ([0, 1, 0], height)}[plane]
    down = ([0, 1, 0], height) if plane == 0 else ([-1, 0, 0], n_slices)
    first = np.array(voxel, float)
    for direction, n in (across, down):
        axis = int(np.flatnonzero(direction)[0])
        first[axis] = -0.5 if sum(direction) > 0 else n - 0.5
    step = [np.array(direction) * n / pixels for (direction, n), pixels in zip((across, down), size, strict=True)]
    first += (step[0] + step[1]) / 2
    to_lps = np.diag([-1, -1, 1, 1]) @ read.affine
    columns = [to_lps[:3, :3] @ one for one in step]
    normal = np.cross(columns[0], columns[1])
    pixels = SimpleITK.Image([*size, 1], SimpleITK.sitkFloat32)
    pixels.SetOrigin((to_lps @ [*first, 1])[:3].tolist())
    pixels.SetSpacing([*(float(np.linalg.norm(column)) for column in columns), 1.0])
    axes = [vector / np.linalg.norm(vector) for vector in (*columns, normal)]
    pixels.SetDirection(np.stack(axes, axis=1).ravel().tolist())
    return pixels


def _resampled(image: SimpleITK.Image, place: SimpleITK.Image, interpolator: int) -> np.ndarray:
    found = SimpleITK.Resample(image, place, SimpleITK.Transform(), interpolator, 0.0, SimpleITK.sitkFloat32)
    pixels: np.ndarray = SimpleITK.GetArrayFromImage(found)[0]
    return pixels


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _centre(mask: np.ndarray) -> np.ndarray:
    centre: np.ndarray = np.argwhere(mask).mean(axis=0)
    return centre


def test_keys_and_controls_do_what_they_say(browser: "Browser", tmp_path: Path) -> None:
    """Keys change scan, slice, plane and mask; sliders and a right-button drag change the window; the wheel scrolls."""
    opened = _open(browser, tmp_path, [_phantom(scan_id="one")[0], _phantom("flipped", "two")[0]])
    page, keys = opened.page, opened.page.keyboard
    page.locator("#crosshair").uncheck()
    page.locator("body").click(position={"x": 5, "y": 5})
    assert page.locator("#scan").inner_text() == "one"
    keys.press("n")
    opened.wait()
    assert page.locator("#scan").inner_text() == "two"
    assert page.locator("nav button[aria-current] span").inner_text() == "two"
    for key in ("p", "n", "p"):  # without waiting: the last one counts
        keys.press(key)
    opened.wait()
    assert page.locator("#scan").inner_text() == "one"
    first = _slice(opened)
    keys.press("ArrowUp")
    assert _slice(opened) == first + 1
    keys.press("2")
    assert opened.page.evaluate("viewer.screenSlices.map((tile) => tile.axCorSag)") == [0]
    box = opened.canvas.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.wheel(0, 100)
    page.wait_for_timeout(100)
    assert _slice(opened) == first
    assert _n_red(opened.picture()) > 500
    keys.press("o")
    plain = opened.picture()
    assert _n_red(plain) == 0
    page.mouse.down(button="right")
    page.mouse.move(middle[0] + 40, middle[1] + 60, steps=4)
    page.mouse.up(button="right")
    assert "level 128" not in page.locator("#brightness-shown").inner_text()
    assert not np.array_equal(opened.picture(), plain)
    keys.press("r")
    np.testing.assert_array_equal(opened.picture(), plain)
    page.locator("#contrast").fill("60")
    assert opened.picture().std() > 1.2 * plain.std()
    assert opened.reported == []


def _slice(opened: Opened) -> int:
    return int(opened.page.locator("#slice-shown").inner_text().split()[0])


def _n_red(picture: np.ndarray) -> int:
    return int((picture[..., 0] - picture[..., 1] > 40).sum())


def test_scan_of_one_slice_has_one_plane(browser: "Browser", tmp_path: Path) -> None:
    """A picture without a position is shown as it is read, and the planes across it are not offered."""
    image = np.zeros((1, 64, 64), np.uint8)
    image[0, :20, :32] = 200  # at the top left
    opened = _open(browser, tmp_path, [viewer_scan(DONE, image, np.zeros_like(image), PICTURE_AFFINE, SIZE_PX)])
    opened.page.locator("#crosshair").uncheck()
    shown = opened.picture().mean(axis=-1)
    left, top, side = (shown.shape[1] - shown.shape[0]) // 2, 0, shown.shape[0]
    square = shown[top : top + side, left : left + side]
    assert square[side // 8 : side // 4, side // 8 : 3 * side // 8].min() > 190
    assert square[side // 2 :].max() < 10
    assert opened.page.locator("input[name=plane]:disabled").count() == 3


def test_dropped_file_is_not_opened(browser: "Browser", tmp_path: Path) -> None:
    """A file dropped on the picture, or beside it, changes nothing."""
    opened = _open(browser, tmp_path, [_phantom()[0]])
    for selector in ("#canvas", "nav"):
        is_left_alone = opened.page.evaluate(
            "(selector) => { const data = new DataTransfer(); data.items.add(new File(['x'], 'other.nii'));"
            " const event = new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});"
            " return !document.querySelector(selector).dispatchEvent(event); }",
            selector,
        )
        assert is_left_alone, selector
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate("viewer.volumes.length") == 2
    assert opened.reported == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_page_fits_the_screen(browser: "Browser", tmp_path: Path, width: int, height: int, scheme: str) -> None:
    """Nothing sticks out sideways, the picture is large, and the colours follow the system's."""
    scan, _, _ = _phantom(scan_id="clinic__a-folder-with-a-name-that-goes-on-and-on__and-on__series-0012")
    opened = _open(browser, tmp_path, [scan] * 4, width=width, height=height, scheme=scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.evaluate("window.scrollY") == 0
    box = opened.canvas.bounding_box()
    assert box is not None
    assert box["width"] > 0.7 * width
    assert box["height"] > 0.5 * height
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
    opened.page.locator("nav button").last.click()
    opened.wait()
    assert opened.page.locator("#caption").inner_text().startswith("4 of 4")
    assert opened.canvas.evaluate("(canvas) => canvas.getBoundingClientRect().top") >= 0  # in view
    opened.page.evaluate("window.scrollTo(0, 0)")
    assert opened.page.get_by_text("Not for diagnosis.").is_visible()
