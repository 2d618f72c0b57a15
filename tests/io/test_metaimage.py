"""Headers of MetaImages: what may be left out, called otherwise or added."""

import numpy as np
import pytest

from tasks.core.errors import DataError
from tasks.io.formats.metaimage import read_metaimage
from tests.hostile_volumes import MHA, PACKED, PACKED_HEADERS, RAW, VOXELS, mha
from tests.itk_files import assert_same, read_by_itk

EQUAL = {
    "CR LF": (MHA.replace(b"\n", b"\r\n") + RAW),
    "colons": (MHA.replace(b" = ", b":") + RAW),
    "local": mha(b"LOCAL", b"Local"),
    "scientific": mha(b"4 3 2", b"4 3.0 2e0"),
    "other names": (
        MHA.replace(b"Offset", b"Position")
        .replace(b"TransformMatrix", b"Orientation")
        .replace(b"BinaryDataByteOrderMSB", b"ElementByteOrderMSB")
        + RAW
    ),
    "only what is needed": mha(b"ObjectType = Image\nNDims = 3\nBinaryData = True\n", b"NDims = 3\n"),
    "element size alone": mha(b"ElementSpacing = 1 1 1", b"ElementSize = 3 2 1"),
    "element size, too": mha(b"ElementSpacing = 1 1 1", b"ElementSize = 9 9 9\nElementSpacing = 3 2 1"),
    "stretched axes": mha(b"1 0 0 0 1 0 0 0 1", b"0 2 0 -1 0 0 0 0.5 3"),
    "sheared axes": mha(b"1 0 0 0 1 0 0 0 1", b"1 0 0 0.3 1 0 0 0 -1"),
    "most significant byte first": mha(b"MSB = False", b"MSB = True", VOXELS.astype(">i2").tobytes()),
    "long is 4 bytes": mha(b"MET_SHORT", b"MET_LONG", VOXELS.astype("<i4").tobytes()),
    "known and idle": mha(
        b"DimSize", b"Name = x\nID = 3\nColor = 1 0 0 1\nElementMin = 0\nHeaderSize = 0\nDistanceUnits = mm\nDimSize"
    ),
    "HeaderSize -1": mha(b"DimSize", b"HeaderSize = -1\nDimSize"),
}


@pytest.mark.parametrize("kind", EQUAL)
def test_a_header_means_what_it_means_to_itk(kind: str) -> None:
    """Other spellings and optional fields lead to the volume that SimpleITK reads."""
    assert_same(read_metaimage(EQUAL[kind]), read_by_itk(EQUAL[kind], ".mha"))


@pytest.mark.parametrize("pack", [b"zlib", b"gzip"])
def test_voxels_are_packed_by_zlib_or_gzip(pack: bytes) -> None:
    """Both streams are read, with the size of what is packed or without."""
    body = PACKED[".mha"] if pack == b"zlib" else PACKED[".nrrd"]
    header = PACKED_HEADERS[".mha"]
    sized = header.replace(b"DimSize", b"CompressedDataSize = %d\nDimSize" % len(body))
    assert_same(read_metaimage(sized + body), read_by_itk(sized + body, ".mha"))
    assert_same(read_metaimage(header + body), read_metaimage(sized + body))


@pytest.mark.parametrize("wrong", [-1, 1, 1 << 40])
def test_the_size_of_what_is_packed_must_be_right(wrong: int) -> None:
    """A size that is not that of what follows the header is refused."""
    body = PACKED[".mha"]
    header = PACKED_HEADERS[".mha"].replace(b"DimSize", b"CompressedDataSize = %d\nDimSize" % (len(body) + wrong))
    with pytest.raises(DataError, match="header claims") as caught:
        read_metaimage(header + body)
    assert caught.value.code == "unreadable"


def test_what_is_missing_of_the_place_is_said() -> None:
    """Without axes or position the volume is read as ITK reads it, with a warning each."""
    content = MHA.replace(b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b"").replace(b"Offset = 0 0 0\n", b"") + RAW
    found = read_metaimage(content)
    assert_same(found, read_by_itk(content, ".mha"))
    assert len(found.warnings) == 2
    assert "orientation" in found.warnings[0]
    assert "position" in found.warnings[1]


def test_one_byte_voxels_need_no_byte_order() -> None:
    """Where the order of bytes means nothing, it may be missing."""
    content = MHA.replace(b"BinaryDataByteOrderMSB = False\n", b"").replace(b"MET_SHORT", b"MET_UCHAR") + bytes(
        range(24)
    )
    np.testing.assert_array_equal(read_metaimage(content).voxels.ravel(), np.arange(24))
