"""Version of what readers take."""

from typing import Final

READER_VERSION: Final = "3"
"""Raised by hand when a reader takes what it refused before, or a kind is renamed; files known bad are tried again."""
