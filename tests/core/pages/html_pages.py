"""What a page shows and what it would fetch, for tests of pages."""

import base64
from html.parser import HTMLParser

FETCHING = {"src", "href", "srcset", "data", "action"}


class Page(HTMLParser):
    """Collects a page's words, table rows, pictures and everything it would fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words = ""
        self.rows: list[list[str]] = []
        self.pictures: list[bytes] = []
        self.fetched: list[str | None] = []
        self._is_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag would fetch, and where a cell begins."""
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._is_cell = True
        for key, value in attrs:
            if key in FETCHING and value and value.startswith("data:image/png;base64,"):
                self.pictures.append(base64.b64decode(value.split(",", 1)[1]))
            elif key in FETCHING and not (value or "").startswith("#"):  # a place in the page itself
                self.fetched.append(value)

    def handle_endtag(self, tag: str) -> None:
        """Note where a cell ends."""
        if tag in ("td", "th"):
            self._is_cell = False

    def handle_data(self, data: str) -> None:
        """Note the words, and add them to their cell."""
        self.words += data
        if self._is_cell:
            self.rows[-1][-1] += data.strip()
