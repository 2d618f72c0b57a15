"""PNG, JPEG, TIFF and BMP slices: 8 and 16 bit, grey, RGB, RGBA and palette."""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from tasks.core.errors import DataError

MAX_PIXELS = 64_000_000
"""8000 x 8000: far beyond any CT slice, far below what fills a worker's memory."""

_GREY_MODES = {"L", "I;16", "I;16B", "I;16L", "I", "F"}
_COLOUR_MODES = {"RGB", "RGBA", "P", "PA", "LA", "1", "RGBX", "CMYK", "YCbCr"}


def read_raster(content: bytes) -> np.ndarray:
    """Return a slice's grey values.

    Args:
        content: The whole file.

    Returns:
        `(H, W)`: uint8, or uint16 / int32 / float32 where the file holds wider grey values. Colours become luma
        (ITU-R 601-2), which for R = G = B is the value itself; transparency is dropped.

    Raises:
        DataError: `empty_file`, `unreadable`, `unsupported_format` or `too_large`.
    """
    image = _open(content)
    if image.mode in _GREY_MODES:
        return _pixels(image)
    return _pixels(image.convert("RGB").convert("L"))


def read_raster_labels(content: bytes) -> np.ndarray:
    """Return a mask's stored values: grey values, or the indices of a palette.

    Args:
        content: The whole file.

    Returns:
        `(H, W)`, integers. In colours, a pixel's value is its largest channel; transparency is dropped.

    Raises:
        DataError: `empty_file`, `unreadable`, `unsupported_format` or `too_large`.
    """
    image = _open(content)
    if image.mode in _GREY_MODES | {"P"}:
        return _pixels(image)
    if image.mode == "1":
        return _pixels(image.convert("L"))
    largest: np.ndarray = _pixels(image.convert("RGB")).max(axis=2)
    return largest


def write_mask_png(mask: np.ndarray) -> bytes:
    """Return a mask `(H, W)` of 0 and 1 as a PNG of 0 and 255."""
    return write_png(mask * np.uint8(255))


def write_png(pixels: np.ndarray) -> bytes:
    """Return uint8 pixels, `(H, W)` or `(H, W, 3)`, as a PNG; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _open(content: bytes) -> Image.Image:
    if not content:
        raise DataError("empty_file", "File has 0 bytes; an image was expected. Upload it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is stricter
            image = Image.open(io.BytesIO(content), formats=["PNG", "JPEG", "TIFF", "BMP"])
            _check(image)
            image.load()
    except DataError:
        raise
    except UnidentifiedImageError as err:
        raise DataError(
            "unreadable", f"File of {len(content)} bytes is not a PNG, JPEG, TIFF or BMP image. Upload it again."
        ) from err
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as err:
        raise DataError("unreadable", f"Image is damaged or cut short ({err}). Upload it again.") from err
    return image


def _check(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            "too_large", f"Image is {image.width}×{image.height} px; at most {MAX_PIXELS} pixels are decoded."
        )
    n_frames = getattr(image, "n_frames", 1)
    if n_frames != 1:
        raise DataError("unsupported_format", f"Image holds {n_frames} frames; one slice a file was expected.")
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        raise DataError("unsupported_format", f"Pixel type {image.mode} is not one of 8 or 16 bit grey or colour.")


def _pixels(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
