"""One format a file. A new one is a module here and a line in each registry it serves."""

from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np

from tasks.core.errors import DataError
from tasks.io.formats.raster import read_raster, read_raster_labels

READERS: dict[str, Callable[[bytes], np.ndarray]] = dict.fromkeys(
    (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"), read_raster
)
"""From suffix to what decodes a slice's grey values."""

LABEL_READERS: dict[str, Callable[[bytes], np.ndarray]] = dict.fromkeys(READERS, read_raster_labels)
"""From suffix to what decodes a mask's stored values."""

READER_VERSION = "1"
"""Raised when a reader takes what it refused before; files known bad are then tried again."""


def suffix_of(path: str) -> str:
    """Return the suffix of a path, lower case, with its dot."""
    return PurePosixPath(path).suffix.lower()


def read_image(path: str, content: bytes) -> np.ndarray:
    """Return the grey values `(H, W)` of a slice, by the reader its suffix names.

    Raises:
        DataError: If no reader takes that suffix, or the reader refuses the content.
    """
    return _reader(READERS, path)(content)


def read_labels(path: str, content: bytes) -> np.ndarray:
    """Return the stored values `(H, W)` of a mask, by the reader its suffix names.

    Raises:
        DataError: If no reader takes that suffix, or the reader refuses the content.
    """
    return _reader(LABEL_READERS, path)(content)


def _reader(registry: dict[str, Callable[[bytes], np.ndarray]], path: str) -> Callable[[bytes], np.ndarray]:
    suffix = suffix_of(path)
    if suffix not in registry:
        raise DataError(
            "unsupported_format",
            f"Files of type {suffix or 'without suffix'} are not read; known: {', '.join(registry)}.",
        )
    return registry[suffix]
