"""The contract of the raster reader over its formats and pixel types."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tasks.io.formats.raster import read_raster, read_raster_labels, write_mask_png, write_png
from tests.io.images import COMBINATIONS, GREY, INDICES, PIXEL_TYPES, chunk, encode, png, tiff, with_palette

# ---- what is read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "pixel_type"), COMBINATIONS)
def test_grey_values_come_back(kind: str, pixel_type: str) -> None:
    """A slice's grey values are those it was saved with; colours become luma, transparency is dropped."""
    make, grey, _ = PIXEL_TYPES[pixel_type]
    pixels = read_raster(encode(make(), kind))
    assert pixels.dtype == grey.dtype
    np.testing.assert_array_equal(pixels, grey)


@pytest.mark.parametrize(("kind", "pixel_type"), COMBINATIONS)
def test_labels_come_back(kind: str, pixel_type: str) -> None:
    """A mask's stored values are those it was saved with; of a palette, the indices."""
    make, _, labels = PIXEL_TYPES[pixel_type]
    pixels = read_raster_labels(encode(make(), kind))
    assert pixels.dtype == labels.dtype
    np.testing.assert_array_equal(pixels, labels)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_luma_weighs_the_channels_and_a_label_takes_the_largest(kind: str) -> None:
    """Red, green and blue weigh 0.299, 0.587 and 0.114 as grey; as a label, a colour is its largest channel."""
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [3, 2, 1]]], np.uint8)
    content = encode(Image.fromarray(colours), kind)
    assert read_raster(content).tolist() == [[76, 150, 29, 2]]
    assert read_raster_labels(content).tolist() == [[255, 255, 255, 3]]


def test_big_endian_values_come_in_the_byte_order_of_the_machine() -> None:
    """A TIFF's 16-bit values are the same whichever end came first in the file, as plain uint16."""
    for byte_order in ("<", ">"):
        pixels = read_raster(tiff(struct.pack(f"{byte_order}HH", 258, 65535), bits=16, byte_order=byte_order))
        assert pixels.dtype == np.dtype("uint16")
        assert pixels.dtype.isnative
        assert pixels.tolist() == [[258, 65535]]


def test_a_palette_of_one_bit_gives_its_indices() -> None:
    """The two colours of a 1-bit palette are the labels 0 and 1."""
    palette = chunk(b"PLTE", bytes([0, 0, 0, 255, 0, 0]))
    content = png(8, 1, b"\0" + bytes([0b10100101]), bit_depth=1, colour_type=3, extra=palette)
    assert read_raster_labels(content).tolist() == [[1, 0, 1, 0, 0, 1, 0, 1]]


@pytest.mark.parametrize(("bit_depth", "row"), [(2, 0b00_01_00_01), (4, 0b0000_0001)])
def test_labels_of_few_bits_come_as_stored(bit_depth: int, row: int) -> None:
    """A grey mask of 0 and 1 is read as 0 and 1 whatever its bit depth."""
    content = png(2, 1, bytes([0, row]), bit_depth=bit_depth)
    assert read_raster_labels(content).tolist() == [[0, 1]]


def test_a_16_bit_mask_with_transparency_keeps_its_lesion() -> None:
    """A 16-bit grey mask of 0 and 1 with an alpha channel is not read as all background."""
    content = png(2, 1, b"\0" + struct.pack(">HHHH", 0, 65535, 1, 65535), bit_depth=16, colour_type=4)
    assert read_raster_labels(content).tolist() == [[0, 1]]


def test_a_palette_with_transparency_gives_its_indices() -> None:
    """The labels of a palette mask are its indices, with an alpha channel too."""
    content = encode(with_palette(INDICES).convert("PA"), "TIFF")
    np.testing.assert_array_equal(read_raster_labels(content), INDICES)


def test_a_palette_with_transparent_entries_is_read_in_silence() -> None:
    """A palette some of whose colours are transparent is read without a warning."""
    extra = chunk(b"PLTE", bytes([10, 10, 10, 200, 200, 200])) + chunk(b"tRNS", bytes([0, 128]))
    assert read_raster(png(2, 1, b"\0\0\1", colour_type=3, extra=extra)).tolist() == [[10, 200]]


# ---- what is written -----------------------------------------------------------------------------------------------


def test_a_mask_makes_the_round_trip() -> None:
    """A mask of 0 and 1 is a PNG of 0 and 255, and is the same mask when read."""
    mask = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    labels = read_raster_labels(write_mask_png(mask))
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 255, 255], [255, 0, 0]]
    np.testing.assert_array_equal(labels > 0, mask > 0)


def test_the_same_pixels_give_the_same_file() -> None:
    """Written twice, an image has the same bytes; grey and colour are kept."""
    colours = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert write_png(GREY) == write_png(GREY.copy())
    np.testing.assert_array_equal(read_raster(write_png(GREY)), GREY)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(write_png(colours)))), colours)
