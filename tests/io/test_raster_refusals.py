"""What the raster reader refuses: damage, other formats, too many frames or pixels; and that nothing else comes out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.core.errors import DataError
from tasks.io.formats import read_image
from tasks.io.formats.raster import MAX_PIXELS, read_raster, read_raster_labels
from tests.io.images import GREY, HELD, INDICES, encode, noise, png


def _refusal(content: bytes) -> DataError:
    """Return the error both readers give, after checking that it does not give a patient away."""
    errors = []
    for reader in (read_raster, read_raster_labels):
        with pytest.raises(DataError) as caught:
            reader(content)
        errors.append(caught.value)
    with pytest.raises(DataError) as caught:
        read_image("incoming/Mueller_Hans.png", content)
    assert "Mueller" not in str(caught.value)
    assert (
        (errors[0].code, str(errors[0])) == (errors[1].code, str(errors[1])) == (caught.value.code, str(caught.value))
    )
    return errors[0]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of a damaged TIFF that it then refuses
@pytest.mark.parametrize("kept", [0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("kind", HELD)
def test_a_file_cut_short_is_unreadable(kind: str, kept: float) -> None:
    """Wherever the upload broke off, in the header or in the pixels, the file is refused and never half read."""
    content = noise(kind)
    error = _refusal(content[: max(1, int(kept * len(content)))])
    assert error.code == "unreadable"
    assert "Upload it again." in str(error)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_a_compressed_tiff_cut_short_is_unreadable(compression: str) -> None:
    """A TIFF that libtiff decodes is refused like any other when bytes are missing."""
    content = encode(Image.fromarray(GREY), "TIFF", compression=compression)
    for kept in (0.1, 0.5, 0.9):
        assert _refusal(content[: int(kept * len(content))]).code == "unreadable"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_stack_cut_short_is_refused() -> None:
    """A TIFF of several frames that broke off is refused like any other, whichever byte was its last."""
    pages = [Image.fromarray(GREY) for _ in range(3)]
    content = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    for n_kept in range(1, len(content), 7):
        assert _refusal(content[:n_kept]).code in {"unreadable", "unsupported_format"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", HELD)
@settings(max_examples=150, derandomize=True, database=None, deadline=None)
@given(data=st.data())
def test_damage_is_never_a_bug(kind: str, data: st.DataObject) -> None:
    """With any few bytes changed, a file is either read or refused with a DataError; nothing else ever comes out."""
    content = bytearray(encode(Image.fromarray(GREY), kind))
    damage = st.dictionaries(st.integers(0, len(content) - 1), st.integers(0, 255), min_size=1, max_size=4)
    for position, value in data.draw(damage).items():
        content[position] = value
    try:
        read_raster(bytes(content))
    except DataError as error:
        assert error.code in {"unreadable", "unsupported_format", "too_large"}  # noqa: PT017  # reading may succeed


def test_zero_bytes_are_an_empty_file() -> None:
    """A file of zero bytes is refused under a code of its own, which says that the upload never began."""
    error = _refusal(b"")
    assert error.code == "empty_file"
    assert str(error) == "File has 0 bytes; an image was expected. Upload it again."


@pytest.mark.parametrize("content", [b"Dear colleague, see attached.\n" * 20, b"\0" * 600, b"\0" * 128 + b"DICM" * 50])
def test_what_is_no_image_is_unreadable(content: bytes) -> None:
    """Text, zeros or a DICOM file under an image's name is refused with its size and what was expected."""
    error = _refusal(content)
    assert error.code == "unreadable"
    assert f"{len(content)} bytes" in str(error)
    assert "PNG, JPEG, TIFF or BMP" in str(error)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PPM"])
def test_other_image_formats_are_not_read(kind: str) -> None:
    """What Pillow could read but the registry does not name is refused."""
    assert _refusal(encode(Image.fromarray(GREY), kind)).code == "unreadable"


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_several_frames_are_not_one_slice(kind: str) -> None:
    """A file of three frames is refused, and the sentence says so."""
    pages = [Image.fromarray(GREY + step) for step in np.arange(3, dtype=np.uint8)]
    error = _refusal(encode(pages[0], kind, save_all=True, append_images=pages[1:]))
    assert error.code == "unsupported_format"
    assert "more than one frame" in str(error)


def test_an_unknown_pixel_type_is_not_guessed() -> None:
    """A file whose pixels are neither grey nor a colour with a defined luma is refused by name."""
    error = _refusal(encode(Image.new("LAB", (4, 4)), "TIFF"))
    assert error.code == "unsupported_format"
    assert "LAB" in str(error)


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    """A file of a hundred bytes that claims more pixels than the limit is refused by its header."""
    error = _refusal(png(8001, 8000, b""))
    assert error.code == "too_large"
    assert str(error) == f"Image is 8001×8000 px; at most {MAX_PIXELS} pixels are decoded."


@pytest.mark.parametrize("size_px", [13_400, 100_000])
def test_far_too_many_pixels_are_too_large_and_not_damaged(size_px: int) -> None:
    """However far beyond the limit, the code is too_large: uploading the file again would not help."""
    assert _refusal(png(size_px, size_px, b"")).code == "too_large"


def test_the_limit_itself_is_decoded() -> None:
    """As many pixels as the limit pass the check, here shown by what is found missing after it."""
    error = _refusal(png(8000, MAX_PIXELS // 8000, b""))
    assert error.code == "unreadable"
    assert "cut short" in str(error)


def test_a_large_image_is_judged_by_our_limit_alone() -> None:
    """Pillow, which would warn of a large image, is silenced, and its settings stay as they were."""
    before = Image.MAX_IMAGE_PIXELS
    assert _refusal(png(10_000, 10_000, b"")).code == "too_large"  # warnings are errors here
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_is_said_without_the_librarys_words() -> None:
    """What Pillow says of a damaged file may quote the file; only the kind of its error is repeated."""
    content = encode(Image.fromarray(GREY), "PNG")
    assert str(_refusal(content[:-30])) == "Image is damaged or cut short (OSError). Upload it again."


@pytest.mark.parametrize("n_bits", [8, 4])
def test_a_bmp_that_would_be_decoded_at_another_depth_is_refused(n_bits: int) -> None:
    """A palette of black and white is no sign of one bit a pixel: such a file is not read as all black."""
    image = Image.fromarray(INDICES % 2)
    image.putpalette([0, 0, 0, 255, 255, 255])
    content = bytearray(encode(image, "BMP"))
    content[28] = n_bits  # biBitCount
    error = _refusal(bytes(content))
    assert error.code == "unsupported_format"
    assert f"BMP of {n_bits} bits" in str(error)
    assert "Save it as PNG." in str(error)
