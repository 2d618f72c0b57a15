"""Pages of the viewer in Chromium, and the scans of the one that most tests look at."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tasks.core.config.intensity import HuConfig
from tasks.core.pages.viewer import CORRECTED, PREDICTED, ViewerScan, viewer_page
from tasks.core.verdicts import browser_store
from tasks.stages.viewer_volumes import PICTURE_AFFINE, viewer_scan
from tests.core.samples import DONE, MANIFEST
from tests.viewer_scans import DIRECTIONS, TRUTH, anatomy, grid_of, read_as_viewer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SIZE_PX = 96
HOSTILE = "</script><img src=x onerror=alert(2)>"
MODEL_HU = HuConfig(window_level_hu=-259, window_width_hu=1530)
"""Window of the model, and of the values in the page: -1,024 to 506 HU."""
GRIDS = {name: grid_of((16, 88, 104), axes, (5.0, 1.3, 1.2)) for name, axes in DIRECTIONS.items()}
ROWS = {
    scan_id: DONE.model_copy(update={"scan_id": scan_id, "mask_sha256": f"{number:064x}", "flags": ["no_lung"]})
    for number, scan_id in enumerate([*GRIDS, "corrected", "picture", HOSTILE])
}
SHAS = {scan_id: str(row.mask_sha256) for scan_id, row in ROWS.items()}


def viewer_scans() -> list[ViewerScan]:
    """Return a phantom per direction, a corrected one, a picture, a damaged one, and one of a hostile name."""
    phantoms = [
        read_as_viewer(anatomy(grid), TRUTH.mask(grid), grid, SIZE_PX, row=ROWS[name], window=MODEL_HU)
        for name, grid in GRIDS.items()
    ]
    grid = GRIDS["as read"]
    corrected = TRUTH.mask(grid) * np.uint8(PREDICTED) | np.roll(TRUTH.mask(grid), 12, axis=2) * np.uint8(CORRECTED)
    image = np.zeros((1, 64, 64), np.uint8)
    image[0, :20, :32] = 200  # at the top left
    picture = viewer_scan(ROWS["picture"], image, np.zeros_like(image), PICTURE_AFFINE, SIZE_PX)
    return [
        *phantoms,
        replace(read_as_viewer(anatomy(grid), corrected, grid, SIZE_PX, row=ROWS["corrected"]), is_corrected=True),
        replace(picture, has_sides=False),
        ViewerScan("damaged", "", b"damaged", b"damaged", mask_sha256="d" * 64),
        replace(phantoms[0], scan_id=HOSTILE, caption=HOSTILE, mask_sha256=SHAS[HOSTILE]),
    ]


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
        self.page.evaluate(TWO_FRAMES)
        content = self.canvas.screenshot()
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), float)
        return pixels[:-1, :-1]  # a part of a pixel is not the canvas's

    def wait(self, state: str = "shown") -> None:
        """Wait until a scan is shown, or cannot be."""
        self.page.wait_for_selector(f"body[data-state={state}]", state="attached", timeout=20_000)

    def show(self, scan_id: str, state: str = "shown") -> None:
        """Show a scan."""
        self.page.locator("nav button", has_text=scan_id).first.click()
        self.wait(state)

    def switch(self, **on: bool) -> None:
        """Check or uncheck boxes, by their ids."""
        for box, is_on in on.items():
            self.page.locator(f"#{box}").set_checked(is_on)

    def text(self, element: str) -> str:
        """Return the text of an element, by its id."""
        return self.page.locator(f"#{element}").inner_text()


def is_red(picture: np.ndarray) -> np.ndarray:
    """Return which pixels show the prediction: red, and not the amber of the letters."""
    red, green, blue = np.moveaxis(picture, -1, 0)
    found: np.ndarray = (red - green > 40) & (abs(green - blue) < 40)
    return found


def is_green(picture: np.ndarray) -> np.ndarray:
    """Return which pixels show the correction."""
    found: np.ndarray = picture[..., 1] - picture[..., 0] > 80
    return found


@contextlib.contextmanager
def open_page(browser: "Browser", path: Path, scans: list[ViewerScan]) -> Iterator[Opened]:
    """Open the page of scans in a browser that has never seen it; it is closed at the end."""
    store = browser_store(scans_uri=MANIFEST.scans_uri, model_digest=MANIFEST.model_digest)
    path.write_text(viewer_page(scans, model_hu=MODEL_HU, store=store, masks=SHAS))
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    page = context.new_page()
    opened = Opened(page)
    page.on("console", lambda message: opened.reported.append(message.text))
    page.on("pageerror", lambda error: opened.reported.append(str(error)))
    page.on("dialog", lambda dialog: (opened.reported.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: opened.requests.append(request.url))
    page.goto(path.as_uri())
    opened.wait()
    yield opened
    context.close()
