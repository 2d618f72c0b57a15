"""PNG, JPEG, TIFF and BMP slices: 8 and 16 bit, grey, RGB, RGBA and palette."""

import contextlib
import io
import math
import warnings
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from tasks.core.errors import DataError
from tasks.core.pictures.mask_colours import check_transparency, palette_values
from tasks.core.turns import STORED, turned_back
from tasks.io.formats.format import Format, MaskWriter, ScanMask

MAX_PIXELS = 4096 * 4096
"""Largest slice, and largest tile of a TIFF: far larger than any CT slice, far smaller than a worker's memory."""

_GREY_MODES = {"L", "I;16", "I;16B", "I;16L", "I", "F"}
_COLOUR_MODES = {"RGB", "RGBA", "P", "PA", "LA", "1", "RGBX", "CMYK", "YCbCr"}
_ORIENTATION = "orientation"
_TIFF_MAGICS, _EXIF_MARKS = (b"II", b"MM"), (b"Exif", b"eXIf")
_TILE_SIDES = 322, 323  # TileWidth and TileLength, TIFF 6.0
_ROWS_AT_ONCE = 256
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601-2; equal channels give the value itself


def read_raster(content: bytes) -> np.ndarray:
    """Return a slice's grey values.

    Args:
        content: The whole file.

    Returns:
        `(H, W)`: uint8, or uint16 / int32 / float32 where the file holds wider values. Colours become luma
        (ITU-R BT.601-2), which for R = G = B is the value itself; transparency is dropped.

    Raises:
        DataError: `empty_file`, `unreadable`, `unsupported_format` or `too_large`.
    """
    with _decoding(content) as image:
        if _bits_per_sample(image, content) == 16 and image.mode not in _GREY_MODES:
            return _as_stored(_luma(_wide_colour(content)), image)
        grey = image if image.mode in _GREY_MODES else image.convert("RGB").convert("L")
        return _as_stored(_pixels(grey), image)


def read_orientation(content: bytes) -> int:
    """Return the EXIF orientation of a slice (`core.turns`); `read_raster` returns it as stored.

    Raises:
        DataError: As `read_raster`.
    """
    if not content.startswith(_TIFF_MAGICS) and not any(mark in content for mark in _EXIF_MARKS):
        return STORED  # without decoding it once more
    with _decoding(content) as image:
        return _orientation(image)


def _orientation(image: Image.Image) -> int:
    found: object = image.info.get(_ORIENTATION) or image.getexif().get(ExifTags.Base.Orientation)
    return found if isinstance(found, int) and found in range(1, 9) else STORED


def _as_stored(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    """Return the pixels of an image as stored: of TIFF alone, Pillow and OpenCV turn them."""
    return turned_back(pixels, _orientation(image)) if image.format == "TIFF" else pixels


def read_raster_labels(content: bytes) -> np.ndarray:
    """Return the values of a mask: grey values as stored, or those of `palette_values`.

    Args:
        content: The whole file.

    Returns:
        `(H, W)`, integers. In colours, a pixel's value is its largest channel. Transparency is ignored if it
        cannot mean another mask.

    Raises:
        DataError: `empty_file`, `unreadable`, `unsupported_format`, `too_large`, or `mask_values` if colours,
            palette or transparency do not define what is lesion.
    """
    with _decoding(content) as image:
        stored = _stored(image, content)
        stored = _as_stored(stored, image)
        if image.mode in {"P", "PA"}:
            values = palette_values(stored, np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3))
        else:
            values = stored if stored.ndim == 2 else stored.max(axis=2)
        alpha = _alpha(image, stored)
        if alpha is not None:
            check_transparency(values, alpha)
        return values


def write_mask_png(mask: np.ndarray) -> bytes:
    """Return a mask `(H, W)` of 0 and 1 as a PNG of 0 and 255."""
    return write_png(mask * np.uint8(255))


def _write(mask: ScanMask) -> bytes:
    [voxels] = mask.voxels
    return write_mask_png(turned_back(voxels, mask.orientation))


def write_png(pixels: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """Return pixels as a PNG; the same pixels give the same bytes.

    Args:
        pixels: uint8 `(H, W)` or `(H, W, 3)`.
        palette: Colours `(256, 3)`, uint8, of which pixels `(H, W)` are indices.
    """
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.tobytes())
    # Runs alone: slices, masks and previews become smaller than by level 2, in three quarters of the time.
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


@contextlib.contextmanager
def _decoding(content: bytes) -> Iterator[Image.Image]:
    """Hold a decoded image; any error of Pillow on damaged input becomes a `DataError`.

    Pillow's decoders raise OSError, SyntaxError, TypeError, KeyError, struct.error and others, and warn.
    """
    if not content:
        raise DataError("empty_file", "File has 0 bytes; an image was expected. Upload it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=["PNG", "JPEG", "TIFF", "BMP"])
            _check(image)
            _check_depth(image, content)
            if image.format == "TIFF":  # Pillow turns it and forgets by what
                image.info[_ORIENTATION] = image.getexif().get(ExifTags.Base.Orientation)
            image.load()
            yield image
    except (DataError, MemoryError):  # a MemoryError is not the fault of the file
        raise
    except UnidentifiedImageError as err:
        raise DataError(
            "unreadable", f"File of {len(content)} bytes is not a PNG, JPEG, TIFF or BMP image. Upload it again."
        ) from err
    except Image.DecompressionBombError as err:
        raise DataError("too_large", f"Image has far more than the {MAX_PIXELS} pixels that are decoded.") from err
    except Exception as err:  # its text may quote the file
        raise DataError(
            "unreadable", f"Image is damaged or cut short ({type(err).__name__}). Upload it again."
        ) from err


def _check(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            "too_large", f"Image is {image.width}×{image.height} px; at most {MAX_PIXELS} pixels are decoded."
        )
    if _has_more_frames(image):
        raise DataError("unsupported_format", "Image holds more than one frame; one slice a file was expected.")
    if image.format == "TIFF":
        tile = [int(image.tag_v2.get(tag, 0)) for tag in _TILE_SIDES]  # type: ignore[attr-defined]
        if math.prod(tile) > MAX_PIXELS:
            raise DataError("too_large", f"A tile is {tile[0]}×{tile[1]} px; at most {MAX_PIXELS} pixels are decoded.")
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        raise DataError("unsupported_format", f"Pixel type {image.mode} is not one of 8 or 16 bit grey or colour.")


def _has_more_frames(image: Image.Image) -> bool:
    """Return whether an image has a second frame; of TIFF, whose frames form a chain, no further one is looked for."""
    if image.format != "TIFF":
        return getattr(image, "n_frames", 1) != 1
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _check_depth(image: Image.Image, content: bytes) -> None:
    """Refuse a BMP that Pillow would decode at another depth than stored, which shifts or blackens its pixels.

    Pillow decodes a palette of black and white as one bit per pixel, and one of rising greys as eight.
    """
    if image.format != "BMP" or image.mode not in ("1", "L"):
        return
    start = 24 if content[14] == 12 else 28  # biBitCount; BITMAPCOREHEADER has 12 bytes
    n_bits = int.from_bytes(content[start : start + 2], "little")
    if n_bits != {"1": 1, "L": 8}[image.mode]:
        raise DataError(
            "unsupported_format", f"A BMP of {n_bits} bits a pixel and a palette of greys is not read. Save it as PNG."
        )


def _bits_per_sample(image: Image.Image, content: bytes) -> int:
    """Return the stored depth, which Pillow's modes lose: 4-bit grey and 16-bit colour become 8 bits."""
    if image.format == "PNG":
        return content[24]  # PNG specification, 11.2.2: IHDR is first, its ninth byte is the bit depth
    if image.format == "TIFF":
        depth = image.tag_v2.get(258, 8)  # type: ignore[attr-defined]  # BitsPerSample, TIFF 6.0
        return int(depth[0] if isinstance(depth, tuple) else depth)
    return 8


def _stored(image: Image.Image, content: bytes) -> np.ndarray:
    """Return the stored pixels of a mask: grey values or indices, `(H, W)`, or colours, `(H, W, 3)`."""
    if image.mode == "PA":
        return _pixels(image.getchannel("P"))
    if image.mode == "P":
        return _pixels(image)
    if image.mode in _GREY_MODES:
        # Pillow stretches 2 and 4 bits to 8 (1 becomes 85 or 17); labels are what is stored.
        depth = _bits_per_sample(image, content)
        return _pixels(image) // (255 // (2**depth - 1)) if depth in (2, 4) else _pixels(image)
    if image.mode == "1":
        return _pixels(image.convert("L"))
    return _wide_colour(content) if _bits_per_sample(image, content) == 16 else _pixels(image.convert("RGB"))


def _alpha(image: Image.Image, stored: np.ndarray) -> np.ndarray | None:
    """Return the opacity of each pixel, `(H, W)`: of an alpha channel, or of a PNG's transparent colours (tRNS)."""
    if image.mode in {"RGBA", "LA", "PA"}:
        return _as_stored(_pixels(image.getchannel("A")), image)
    transparent = image.info.get("transparency")
    if transparent is None:
        return None
    if image.mode != "P":  # one grey value or colour
        key = np.array(transparent).reshape(-1)
        is_shown: np.ndarray = (stored.reshape(*stored.shape[:2], -1) != key).any(axis=2)
        return is_shown
    of_index = np.full(256, 255, np.uint8)
    if isinstance(transparent, bytes):  # the opacity of each index
        of_index[: len(transparent)] = list(transparent)
    else:  # the one index that is not shown
        of_index[transparent] = 0
    opacity: np.ndarray = of_index[stored]
    return opacity


def _wide_colour(content: bytes) -> np.ndarray:
    """Return 16-bit colours, uint16 `(H, W, 3)`, R G B; by OpenCV, because Pillow keeps their high byte only."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise DataError("unsupported_format", "16-bit colours of this kind are not read; save the slice as grey.")
    return pixels[:, :, 2::-1]


def _luma(colours: np.ndarray) -> np.ndarray:
    """Return the luma of 16-bit colours, uint16 `(H, W)`; by parts, which are held as float64."""
    luma = np.empty(colours.shape[:2], np.uint16)
    for start in range(0, len(colours), _ROWS_AT_ONCE):
        luma[start : start + _ROWS_AT_ONCE] = np.rint(colours[start : start + _ROWS_AT_ONCE] @ _LUMA)
    return luma


def _pixels(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


RASTER = Format(
    "raster",
    "PNG, JPEG, TIFF, BMP",
    (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"),
    read_slice=read_raster,
    read_labels=read_raster_labels,
    read_orientation=read_orientation,
)

PNG_MASK = MaskWriter("png", "PNG", "png", frozenset({"slice"}), _write)
"""Writer of masks of 0 and 255 on the pixels of the slice."""
