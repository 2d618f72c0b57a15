"""Version of the readers of scans."""

from typing import Final

READER_VERSION: Final = "5"
"""Raised by hand when a reader accepts more, or a format is renamed; rejected scans are then tried again."""
