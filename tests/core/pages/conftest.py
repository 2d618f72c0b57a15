"""The collection report in a browser: opened once per file, and as new for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browsers import chromium, opened
from tests.core.pages.collection_report import write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with pictures inside it and beside it."""
    return write_report(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of this file."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def shown(browser: Browser, report: Path) -> Iterator[Page]:
    """One page for the tests of this file; it must raise no error and ask for nothing outside."""
    with opened(browser, report) as (page, trouble):
        yield page
        assert trouble == []


@pytest.fixture
def page(shown: Page) -> Page:
    """The report as it is when it is opened, without verdicts."""
    shown.evaluate("localStorage.clear()")
    shown.reload()
    return shown
