"""Debian's Chromium, driven by Playwright, for tests of pages."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

LOCAL = ("file:", "data:", "blob:")
"""Schemes of what a page may load."""


@contextlib.contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """Start Chromium without a window; skip where there is none."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", *options])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Browser, path: Path, *, width_px: int = 1440, scheme: str = "light") -> Iterator[tuple[Page, list]]:
    """Open a page from disk.

    Args:
        browser: Running browser.
        path: The page.
        width_px: Width of its window.
        scheme: Colour scheme, light or dark.

    Yields:
        The page, and a list to which errors of its scripts, messages of its console and requests that leave the disk
        are added.
    """
    context = browser.new_context(viewport={"width": width_px, "height": 900}, color_scheme=scheme)
    page, trouble = context.new_page(), []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "request", lambda made: None if made.url.startswith(("file:", "data:", "blob:")) else trouble.append(made.url)
    )
    page.goto(path.as_uri())
    try:
        yield page, trouble
    finally:
        context.close()
