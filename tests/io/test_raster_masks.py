"""Masks by palette and with transparency: the same picture gives the same mask or a refusal, never its negative."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.core.catalog import MaskRule
from tasks.core.errors import DataError
from tasks.core.intensity import binarise_mask
from tasks.io.formats.raster import read_raster_labels
from tests.io.images import chunk, encode, png

MASK = np.zeros((8, 8), np.uint8)
MASK[2:4, 2:5] = 1
WHITE, RED, BLACK = (255, 255, 255), (255, 0, 0), (0, 0, 0)


def _painted(lesion: tuple[int, ...], background: tuple[int, ...] = BLACK, mask: np.ndarray = MASK) -> Image.Image:
    return Image.fromarray(np.array([background, lesion], np.uint8)[mask])


def _indexed(indices: np.ndarray, *palette: tuple[int, ...]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette([channel for colour in palette for channel in colour])
    return image


def _binary(content: bytes, rule: MaskRule = "binary") -> np.ndarray:
    return binarise_mask(read_raster_labels(content), rule)


def _refusal(content: bytes, rule: MaskRule = "nonzero") -> str:
    with pytest.raises(DataError) as caught:
        _binary(content, rule)
    assert caught.value.code == "mask_values"
    assert "Save it as grey 0/255." in str(caught.value)
    return str(caught.value)


# ---- palettes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize(
    "image",
    [
        pytest.param(_painted(WHITE).quantize(2), id="white first"),
        pytest.param(_painted(RED).quantize(2), id="red first"),
        pytest.param(_painted(WHITE).convert("L").quantize(2), id="grey, white first"),
        pytest.param(_painted(WHITE).convert("P", palette=Image.Palette.ADAPTIVE, colors=4), id="adaptive"),
        pytest.param(_indexed(MASK, BLACK, WHITE), id="black first"),
        pytest.param(_indexed(1 - MASK, WHITE, BLACK), id="swapped"),
        pytest.param(_indexed(10 - 3 * MASK, *[RED] * 10, BLACK), id="neither first"),
        pytest.param(_indexed(MASK * 255, *[(i, i, i) for i in range(256)]), id="grey ramp"),
        pytest.param(_indexed((1 - MASK) * 255, *[(255 - i,) * 3 for i in range(256)]), id="falling ramp"),
        pytest.param(_indexed(MASK, BLACK, (128, 0, 0), (0, 128, 0)), id="VOC"),
    ],
)
def test_a_palette_mask_is_what_it_shows(image: Image.Image, kind: str) -> None:
    """Whichever index the encoder gave to black, what is shown black is background and the rest lesion."""
    content = encode(image, kind)
    if kind == "BMP" and image.getpalette() == [*BLACK, *WHITE]:  # eight bits a pixel, which Pillow reads as one
        with pytest.raises(DataError, match="BMP of 8 bits"):
            _binary(content)
    else:
        np.testing.assert_array_equal(_binary(content), MASK)


def test_a_palette_of_one_bit_may_begin_with_white() -> None:
    """Of a 1-bit palette of white and black, black is background."""
    palette = chunk(b"PLTE", bytes([*WHITE, *BLACK]))
    content = png(8, 1, b"\0" + bytes([0b10100101]), bit_depth=1, colour_type=3, extra=palette)
    assert _binary(content).tolist() == [[0, 1, 0, 1, 1, 0, 1, 0]]


@pytest.mark.parametrize("image", [_painted(BLACK), _painted(WHITE, mask=MASK * 0).quantize(2)])
def test_an_empty_palette_mask_is_empty(image: Image.Image) -> None:
    """A mask all black has no lesion, whichever index is black."""
    assert not _binary(encode(image.quantize(2), "PNG")).any()
    assert not _binary(encode(_indexed(MASK * 0 + 7, *[WHITE] * 7, BLACK), "PNG")).any()


def test_a_web_palette_is_right_or_refused() -> None:
    """Pillow's web palette puts white at 225: not binary by its rule, and right where anything above 0 is lesion."""
    content = encode(_painted(WHITE).convert("P"), "PNG")
    np.testing.assert_array_equal(_binary(content, "nonzero"), MASK)
    with pytest.raises(DataError, match="225"):
        _binary(content)


def test_labels_stay_labels() -> None:
    """Where index 0 is black and no other is, indices are labels, so that a mask of several is still refused."""
    indices = MASK + MASK * np.arange(8, dtype=np.uint8) // 4  # 0, 1 and 2
    content = encode(_indexed(indices, BLACK, RED, (0, 255, 0)), "PNG")
    np.testing.assert_array_equal(read_raster_labels(content), indices)
    with pytest.raises(DataError, match="3 values"):
        _binary(content)


@pytest.mark.parametrize(
    "palette",
    [
        pytest.param([(68, 1, 84), (253, 231, 37)], id="a plot's colours"),
        pytest.param([WHITE, RED], id="white paper"),
        pytest.param([BLACK, BLACK], id="all black"),
        pytest.param([WHITE, BLACK, RED], id="white and red are as bright"),
    ],
)
def test_a_palette_that_leaves_the_background_open_is_refused(palette: list[tuple[int, ...]]) -> None:
    """Labels on coloured paper, or colours that do not differ, are not guessed, also where all above 0 is lesion."""
    indices = MASK.copy()
    indices[6, :3] = len(palette) - 1
    _refusal(encode(_indexed(indices, *palette), "PNG"))


def test_an_index_without_a_colour_is_refused() -> None:
    """A pixel whose index the palette does not have is no lesion and no background."""
    content = png(2, 1, b"\0\0\3", colour_type=3, extra=chunk(b"PLTE", bytes([*BLACK, *WHITE])))
    with pytest.raises(DataError, match="index 3, its palette 2 colours"):
        read_raster_labels(content)


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(data=st.data(), rule=st.sampled_from(["binary", "nonzero"]))
def test_no_palette_turns_a_picture_into_its_negative(data: st.DataObject, rule: MaskRule) -> None:
    """However an encoder orders a picture's colours, its mask is what is not black, or it is refused."""
    colour = st.one_of(st.just(BLACK), st.just(WHITE), st.just(RED), st.tuples(*[st.integers(0, 255)] * 3))
    palette = data.draw(st.lists(colour, min_size=1, max_size=256))
    pixels = st.lists(st.integers(0, len(palette) - 1), min_size=12, max_size=12)
    indices = np.array(data.draw(pixels), np.uint8).reshape(3, 4)
    shown = np.array(palette)[indices].max(axis=2) > 0
    try:
        found = _binary(encode(_indexed(indices, *palette), "PNG"), rule)
    except DataError as error:
        assert error.code == "mask_values"  # noqa: PT017  # reading may succeed
    else:
        np.testing.assert_array_equal(found, shown)


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(order=st.permutations(range(6)), lesion=st.sampled_from([WHITE, RED, (0, 255, 255)]))
def test_a_binary_picture_is_read_in_any_order_of_its_palette(order: list[int], lesion: tuple[int, ...]) -> None:
    """Black and one full colour, wherever they stand among colours that are not used, are never wrong by `nonzero`."""
    colours = [BLACK, lesion, (9, 9, 9), (200, 0, 0), (0, 7, 0), WHITE]
    palette = [colours[i] for i in order]
    indices = np.where(MASK, order.index(1), order.index(0))
    np.testing.assert_array_equal(_binary(encode(_indexed(indices, *palette), "PNG"), "nonzero"), MASK)


# ---- transparency --------------------------------------------------------------------------------------------------


def _with_alpha(image: Image.Image, alpha: np.ndarray) -> bytes:
    image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return encode(image, "PNG")


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("colour", [WHITE, BLACK])
def test_a_mask_that_is_its_transparency_is_refused(mode: str, colour: tuple[int, ...]) -> None:
    """Of one colour, opaque where the lesion is: neither all lesion nor none, but refused."""
    image = Image.new("RGB", (8, 8), colour).convert(mode)
    assert "transparency may be" in _refusal(_with_alpha(image, MASK * 255))
    assert "transparency may be" in _refusal(_with_alpha(image, 255 - MASK * 200))


def test_an_empty_mask_that_is_its_transparency_is_refused() -> None:
    """White that is nowhere to be seen is no slice full of lesion."""
    assert "transparency may be" in _refusal(_with_alpha(Image.new("RGB", (8, 8), WHITE), MASK * 0))


def test_transparency_that_contradicts_the_colours_is_refused() -> None:
    """A lesion that is not shown, or a background that is, leaves open which is the mask."""
    assert "in 64 pixels" in _refusal(_with_alpha(_painted(BLACK, WHITE), MASK * 255))
    shown = MASK.copy()
    shown[2, 2] = 0
    assert "in 1 pixel." in _refusal(_with_alpha(_painted(WHITE), shown * 255))


@pytest.mark.parametrize("lesion", [WHITE, RED])
@pytest.mark.parametrize("alpha", [MASK * 0 + 255, MASK * 0 + 7, MASK * 255, MASK * 100])
def test_transparency_that_says_nothing_new_is_dropped(lesion: tuple[int, ...], alpha: np.ndarray) -> None:
    """A constant transparency, or a transparent background, leaves the mask what its colours say."""
    np.testing.assert_array_equal(_binary(_with_alpha(_painted(lesion), alpha)), MASK)


@pytest.mark.parametrize(
    ("colour_type", "pixels", "extra", "is_refused"),
    [
        (0, b"\0\xff", chunk(b"tRNS", struct.pack(">H", 0)), False),  # black is not shown
        (0, b"\0\xff", chunk(b"tRNS", struct.pack(">H", 255)), True),  # the lesion is not
        (2, bytes([*BLACK, *RED]), chunk(b"tRNS", struct.pack(">HHH", *BLACK)), False),
        (2, bytes([*BLACK, *RED]), chunk(b"tRNS", struct.pack(">HHH", *RED)), True),
        (3, b"\0\1", chunk(b"PLTE", bytes([*BLACK, *RED])) + chunk(b"tRNS", b"\0"), False),
        (3, b"\0\1", chunk(b"PLTE", bytes([*BLACK, *RED])) + chunk(b"tRNS", b"\xff\0"), True),
        (3, b"\1\0", chunk(b"PLTE", bytes([*RED, *BLACK])) + chunk(b"tRNS", b"\xff\x80"), True),
    ],
)
def test_a_transparent_colour_is_held_against_the_mask(
    colour_type: int, pixels: bytes, extra: bytes, is_refused: bool
) -> None:
    """A PNG's transparent grey value, colour or index counts like an alpha channel."""
    content = png(2, 1, b"\0" + pixels, colour_type=colour_type, extra=extra)
    if is_refused:
        _refusal(content)
    else:
        assert _binary(content).tolist() == [[0, 1]]
