"""Small images of every kind the raster reader takes, and files put together by hand."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

# Four flat 8x8 blocks, so that JPEG, which codes in blocks of 8x8, gives the very values back.
INDICES = np.kron([[0, 1], [2, 3]], np.ones((8, 8))).astype(np.uint8)
GREY = np.array([0, 50, 200, 255], np.uint8)[INDICES]
PALETTE = (0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255)  # black, red, green, blue
LUMA = np.array([0, 76, 150, 29], np.uint8)[INDICES]  # ITU-R 601-2: 0.299, 0.587 and 0.114 of 255, rounded


def _with_alpha(image: Image.Image) -> Image.Image:
    image.putalpha(7)
    return image


def with_palette(indices: np.ndarray) -> Image.Image:
    """Return an image of palette indices."""
    image = Image.fromarray(indices)
    image.putpalette(PALETTE)
    return image


WIDE = GREY.astype(np.uint16) * 257  # 0, 12850, 51400, 65535
SIGNED = GREY.astype(np.int32) - 1000
FLOATS = GREY.astype(np.float32) / 2
BITS = np.where(GREY > 100, 255, 0).astype(np.uint8)

# By pixel type: an image of it, the grey values and the labels it must be read as.
PIXEL_TYPES: dict[str, tuple[Callable[[], Image.Image], np.ndarray, np.ndarray]] = {
    "L": (lambda: Image.fromarray(GREY), GREY, GREY),
    "I;16": (lambda: Image.fromarray(WIDE), WIDE, WIDE),
    "I": (lambda: Image.fromarray(SIGNED), SIGNED, SIGNED),
    "F": (lambda: Image.fromarray(FLOATS), FLOATS, FLOATS),
    "1": (lambda: Image.fromarray(BITS).convert("1"), BITS, BITS),
    "LA": (lambda: _with_alpha(Image.fromarray(GREY)), GREY, GREY),
    "RGB": (lambda: Image.fromarray(GREY).convert("RGB"), GREY, GREY),
    "RGBA": (lambda: _with_alpha(Image.fromarray(GREY).convert("RGB")), GREY, GREY),
    "CMYK": (lambda: Image.fromarray(GREY).convert("RGB").convert("CMYK"), GREY, GREY),
    "YCbCr": (lambda: Image.fromarray(GREY).convert("RGB").convert("YCbCr"), GREY, GREY),
    "P": (lambda: with_palette(INDICES), LUMA, INDICES),
}
HELD: dict[str, tuple[str, ...]] = {  # what each format can hold
    "PNG": ("L", "I;16", "1", "LA", "RGB", "RGBA", "P"),
    "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
    "TIFF": ("L", "I;16", "I", "F", "1", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "P"),
    "BMP": ("L", "1", "RGB", "RGBA", "P"),
}
COMBINATIONS = [(kind, pixel_type) for kind, pixel_types in HELD.items() for pixel_type in pixel_types]


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image as a file, as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(kind: str) -> bytes:
    """Return a file of a few kilobytes that does not compress, so that every cut takes pixels away."""
    return encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48), np.uint8)), kind)


def png(width: int, height: int, rows: bytes, *, bit_depth: int = 8, colour_type: int = 0, extra: bytes = b"") -> bytes:
    """Return a PNG put together by hand; `rows` are the filtered scan lines (each after a zero byte)."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def chunk(name: bytes, content: bytes = b"") -> bytes:
    """Return a chunk of a PNG, with its length and checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff(content: bytes, *, bits: int, byte_order: str = "<") -> bytes:
    """Return a grey TIFF of one row of two pixels, put together by hand."""
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(content)}
    directory = struct.pack(f"{byte_order}H", len(tags)) + b"".join(
        struct.pack(f"{byte_order}HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items()
    )
    start = {"<": b"II*\0", ">": b"MM\0*"}[byte_order] + struct.pack(f"{byte_order}I", 8 + len(content))
    return start + content + directory + bytes(4)
