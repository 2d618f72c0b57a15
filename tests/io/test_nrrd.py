"""Headers of NRRDs: what may be left out, called otherwise or added."""

import numpy as np
import pytest

from tasks.core.errors import DataError
from tasks.io.formats.nrrd import _DTYPES, read_nrrd
from tests.hostile_volumes import NRRD, PACKED, RAW, VOXELS, nrrd
from tests.itk_files import assert_same, read_by_itk

SPACED = NRRD.replace(
    b"space: left-posterior-superior\nsizes: 4 3 2\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n",
    b"sizes: 4 3 2\nspacings: 0.5 2 3\n",
).replace(b"space origin: (0,0,0)\n", b"")
"""A header without a space."""

EQUAL = {
    "CR LF": NRRD.replace(b"\n", b"\r\n") + RAW,
    "capitals": NRRD.replace(b"space:", b"SPACE:").replace(b"encoding", b"Encoding").replace(b"little", b"LITTLE")
    + RAW,
    "names without blanks": NRRD.replace(b"space directions", b"spacedirections") + RAW,
    "blanks in vectors": nrrd(b"(1,0,0) (0,1,0)", b"( 1, 0.25 ,0)   (-2,1,0)"),
    "LPS": nrrd(b"left-posterior-superior", b"LPS"),
    "RAS": nrrd(b"left-posterior-superior", b"RAS"),
    "right anterior superior": nrrd(b"left-posterior-superior", b"right anterior superior"),
    "LAS": nrrd(b"left-posterior-superior", b"left-anterior-superior"),
    "away from the middle": nrrd(b"(0,0,0)\n\n", b"(1.5,-20,1e2)\n\n"),
    "big endian": nrrd(b"little", b"big", VOXELS.astype(">i2").tobytes()),
    "gz": nrrd(b"encoding: raw", b"encoding: gz", PACKED[".nrrd"]),
    "version 1": nrrd(b"NRRD0004", b"NRRD0001"),
    "version 5": nrrd(b"NRRD0004", b"NRRD0005"),
    "idle fields": nrrd(
        b"kinds",
        b'content: x\nnumber: 24\nmin: 0\nold max: 4\nthicknesses: 1 nan nan\nspace units: "mm" "mm" "mm"\n'
        b'labels: "a" "b" "c"\nmeasurement frame: (1,0,0) (0,1,0) (0,0,1)\nsample units: HU\nkinds',
    ),
    "metadata": nrrd(b"kinds", b"data file:=/etc/passwd\nName:=a: b := c\n# data file: /etc/passwd\nkinds"),
    "byte skip -1": nrrd(b"kinds", b"byte skip: -1\nkinds"),
    "no skip": nrrd(b"kinds", b"line skip: 0\nbyte skip: 0\nkinds"),
    "unknown kinds": nrrd(b"domain domain domain", b"space ??? space"),
}


@pytest.mark.parametrize("kind", EQUAL)
def test_a_header_means_what_it_means_to_itk(kind: str) -> None:
    """Other spellings and optional fields lead to the volume that SimpleITK reads, without a warning."""
    found = read_nrrd(EQUAL[kind])
    assert_same(found, read_by_itk(EQUAL[kind], ".nrrd"))
    assert found.warnings == ()


@pytest.mark.parametrize("name", _DTYPES)
def test_every_name_of_a_type_is_that_type_to_itk(name: str) -> None:
    """All names NRRD gives to a type are read as SimpleITK reads them."""
    content = nrrd(b"type: short", b"type: " + name.encode(), VOXELS.astype(_DTYPES[name]).tobytes())
    assert_same(read_nrrd(content), read_by_itk(content, ".nrrd"))


@pytest.mark.parametrize(
    "more",
    [
        b"",
        b"axis mins: 5 -6 7\n",
        b"axis mins: 5 -6 7\ncenters: node node node\n",
        b"axis mins: 5 -6 7\ncenterings: cell node ???\n",
        b"axis mins: nan nan nan\n",
        b"kinds: domain domain domain\n",
    ],
)
def test_spacings_without_a_space_are_read_with_a_warning(more: bytes) -> None:
    """The array lies along the axes, where SimpleITK puts it, and the reader is told that this is a guess."""
    content = SPACED.replace(b"kinds: domain domain domain\n", more) + RAW
    found = read_nrrd(content)
    assert_same(found, read_by_itk(content, ".nrrd"))
    assert len(found.warnings) == 1
    assert "orientation" in found.warnings[0]


def test_directions_in_no_named_space_are_read_with_a_warning() -> None:
    """A space that has but a dimension is taken as LPS, as by SimpleITK, and that is said."""
    content = nrrd(b"space: left-posterior-superior", b"space dimension: 3")
    found = read_nrrd(content)
    assert_same(found, read_by_itk(content, ".nrrd"))
    assert len(found.warnings) == 1


def test_a_missing_origin_is_said() -> None:
    """Without a position the volume is read as ITK reads it, with a warning."""
    content = nrrd(b"space origin: (0,0,0)\n", b"")
    found = read_nrrd(content)
    assert_same(found, read_by_itk(content, ".nrrd"))
    assert len(found.warnings) == 1
    assert "position" in found.warnings[0]


@pytest.mark.parametrize("spacings", [b"", b"spacings: nan 2 3\n", b"spacings: 0.5 0 3\n", b"spacings: -1 2 3\n"])
def test_a_spacing_that_is_not_known_is_no_millimetre(spacings: bytes) -> None:
    """Where SimpleITK would take 1 mm for a spacing that is not there, or flip an axis, the file is refused."""
    with pytest.raises(DataError) as caught:
        read_nrrd(SPACED.replace(b"spacings: 0.5 2 3\n", spacings) + RAW)
    assert caught.value.code == ("zero_spacing" if b"." in spacings or b"-" in spacings else "missing_spacing")


def test_centers_are_those_of_all_axes() -> None:
    """A list of centers that is not one per axis is refused."""
    with pytest.raises(DataError, match="centers") as caught:
        read_nrrd(SPACED.replace(b"kinds", b"centers: cell node\nkinds") + RAW)
    assert caught.value.code == "unreadable"


def test_one_byte_voxels_need_no_byte_order() -> None:
    """Where the order of bytes means nothing, it may be missing."""
    content = NRRD.replace(b"endian: little\n", b"").replace(b"type: short", b"type: uchar") + bytes(range(24))
    np.testing.assert_array_equal(read_nrrd(content).voxels.ravel(), np.arange(24))
