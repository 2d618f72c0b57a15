"""Volumes behind text headers: what SimpleITK writes reads equal, what is hostile or damaged is refused."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.errors import DataError
from tasks.core.volumes import Grid
from tests.hostile_volumes import (
    HEADERS,
    HOSTILE,
    PACKED,
    PACKED_HEADERS,
    PACKED_SMOOTH,
    RAW,
    READERS,
    SMOOTH,
    VOXELS,
)
from tests.itk_files import assert_same, read_by_itk, write_by_itk

DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
METADATA = {
    "PatientName": "Müller^Hans",
    "0010|0010": "山田^太郎",
    "0008|103e": "Thorax = 1:2 : \\ 50%",
    "0018|9999": "two\nlines",
    "0020|4000": "Windows\r\nlines",
    "Modality": "MET_MOD_CT",
    "ITK_InputFilterName": "NrrdImageIO",
    "ElementDataFileName": "/etc/passwd",
    "empty": "",
    "zzz": "last",
}
GRID = Grid((2, 3, 4), np.array([[0, 0, 0.7, 5], [0, -0.8, 0, 6], [2.5, 0, 0, -7.25], [0, 0, 0, 1]]))


def _voxels(dtype: str, shape: tuple[int, int, int] = (2, 3, 4)) -> np.ndarray:
    """Return voxels over the whole range of a type."""
    rng = np.random.default_rng(3)
    if dtype[0] == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=np.dtype(dtype).type, endpoint=True)


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_packed", [False, True])
def test_every_form_that_itk_writes_reads_equal(suffix: str, dtype: str, is_packed: bool) -> None:
    """Voxels, their type and the grid are those SimpleITK reads, without a warning and ready for any library."""
    voxels = _voxels(dtype)
    content = write_by_itk(voxels, GRID, suffix, is_packed=is_packed, metadata=METADATA)
    found = READERS[suffix](content)
    assert_same(found, read_by_itk(content, suffix))
    np.testing.assert_array_equal(found.voxels, voxels)
    assert found.warnings == ()
    assert found.voxels.flags.c_contiguous
    assert found.voxels.flags.aligned
    assert found.voxels.flags.writeable
    assert found.voxels.dtype.isnative


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Return a grid in any orientation: rotated, flipped, thick slices, far off."""
    quaternion = np.add(draw(st.tuples(*[st.floats(-1, 1)] * 4)), (1e-3, 0, 0, 0))
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    affine = np.eye(4)
    flips = draw(st.tuples(*[st.sampled_from((1, -1))] * 3))
    affine[:3, :3] = rotation * flips * draw(st.tuples(*[st.floats(0.05, 20)] * 3))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-2000, 2000)] * 3))
    first, second, third = draw(st.tuples(*[st.integers(1, 5)] * 3))
    return Grid((first, second, third), affine)


@pytest.mark.parametrize("suffix", READERS)
@settings(max_examples=60, deadline=None)
@given(grid=grids(), is_packed=st.booleans())
def test_any_grid_that_itk_writes_reads_equal(suffix: str, grid: Grid, is_packed: bool) -> None:
    """Oblique, flipped and anisotropic grids are those SimpleITK reads."""
    content = write_by_itk(_voxels("i2", grid.shape), grid, suffix, is_packed=is_packed)
    assert_same(READERS[suffix](content), read_by_itk(content, suffix))


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_under_its_code(kind: str) -> None:
    """Whatever a header claims or names, the answer is a sentence that quotes nothing of it."""
    suffix, code, content = HOSTILE[kind]
    with pytest.raises(DataError) as caught:
        READERS[suffix](content)
    assert caught.value.code == code
    assert caught.value.sentence.endswith(".")
    assert "/proc" not in caught.value.sentence


_LONG = b"".join(b"N%d = %s\n" % (number, b"x" * 400) for number in range(200))
ELSEWHERE = {
    "next line": (".mha", b"ElementDataFile\n= %s\nElementDataFile = LOCAL\n"),
    "lone CR": (".mha", b"ElementDataFile\r= %s\nElementDataFile = LOCAL\n"),
    "long header": (".mha", b"Comment = a\rElementDataFile = LOCAL\n" + _LONG + b"ElementDataFile = %s\n"),
    "list": (".mha", b"ElementDataFile\n= LIST 3\n%s\nElementDataFile = LOCAL\n"),
    "plain": (".mha", b"ElementDataFile = %s\n"),
    "data file": (".nrrd", b"data file: %s\n\n"),
    "data file, in capitals": (".nrrd", b"DATAFILE: %s\n\n"),
}
"""Ends of a header that name a file; the first four once passed a look at the lines, and then ITK opened the file."""


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_voxels_are_never_taken_from_another_file(kind: str, tmp_path: Path) -> None:
    """A file of the right size that a header names stays unread, however the header names it."""
    secret = tmp_path / "secret.raw"
    secret.write_bytes(RAW)
    suffix, end = ELSEWHERE[kind]
    start = HEADERS[suffix].replace(b"ElementDataFile = LOCAL\n", b"").replace(b"\n\n", b"\n")
    with pytest.raises(DataError) as caught:
        READERS[suffix](start + end % bytes(secret))
    assert caught.value.code in ("unsupported_format", "unreadable")


@pytest.mark.parametrize("suffix", READERS)
def test_packed_and_unpacked_bodies_read_equal(suffix: str) -> None:
    """The files that the damage below is done to are whole."""
    for content in (HEADERS[suffix] + RAW, PACKED_HEADERS[suffix] + PACKED[suffix]):
        np.testing.assert_array_equal(READERS[suffix](content).voxels, VOXELS)


@pytest.mark.parametrize("suffix", READERS)
def test_packed_bodies_of_several_pieces_read_equal(suffix: str) -> None:
    """A body that is inflated piece by piece is read whole, and refused where it goes on by a piece."""
    voxels = _voxels("i2", (10, 300, 400))
    content = write_by_itk(voxels, Grid(voxels.shape, GRID.affine), suffix, is_packed=True)
    assert len(content) > 2 << 20
    np.testing.assert_array_equal(READERS[suffix](content).voxels, voxels)
    with pytest.raises(DataError):
        READERS[suffix](content + bytes(3 << 20))


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("voxels", [VOXELS, SMOOTH], ids=["stored", "coded"])
def test_every_flipped_bit_of_a_packed_body_is_noticed(suffix: str, voxels: np.ndarray) -> None:
    """With any one bit flipped the file is refused, but for bits that say nothing of any voxel."""
    packed = {id(VOXELS): PACKED, id(SMOOTH): PACKED_SMOOTH}[id(voxels)][suffix]
    n_idle = 49 if suffix == ".nrrd" else 0  # gzip: time, level, system, whether it is text
    n_read = 0
    for index, bit in itertools.product(range(len(packed)), range(8)):
        body = bytearray(packed)
        body[index] ^= 1 << bit
        try:
            found = READERS[suffix](PACKED_HEADERS[suffix] + body)
        except DataError as err:
            assert err.code == "unreadable"  # noqa: PT017
        else:
            n_read += 1
            np.testing.assert_array_equal(found.voxels, voxels)
    assert n_read <= n_idle + 7  # deflate: up to the end of a byte


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("change", [-1, -7, 1, 100, 1 << 20])
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_body_that_is_cut_short_or_goes_on_is_refused(suffix: str, change: int, is_packed: bool) -> None:
    """Voxels are exactly as many as the header claims, and nothing follows them."""
    whole = PACKED_HEADERS[suffix] + PACKED[suffix] if is_packed else HEADERS[suffix] + RAW
    content = whole[:change] if change < 0 else whole + bytes(change)
    with pytest.raises(DataError) as caught:
        READERS[suffix](content)
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("sides", [b"4 3 1", b"4 3 3", b"400 300 200", b"400 20000 30"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_claim_of_other_sides_is_refused(suffix: str, sides: bytes, is_packed: bool) -> None:
    """Fewer or more voxels than there are, by one slice or by gigabytes, are unreadable."""
    header, body = (PACKED_HEADERS, PACKED[suffix]) if is_packed else (HEADERS, RAW)
    with pytest.raises(DataError) as caught:
        READERS[suffix](header[suffix].replace(b"4 3 2", sides) + body)
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize("suffix", READERS)
def test_whatever_happens_to_a_packed_body_no_other_voxels_are_read(suffix: str) -> None:
    """Bytes overwritten, cut, doubled or added: a `DataError`, or exactly the undamaged voxels."""
    rng = np.random.default_rng(11)
    for _ in range(400):
        body = bytearray(PACKED[suffix])
        for _ in range(rng.integers(1, 4)):
            first, last = np.sort(rng.integers(0, len(body) + 1, 2))
            body[first : rng.choice([first, last])] = rng.bytes(rng.integers(0, 5))
        try:
            found = READERS[suffix](PACKED_HEADERS[suffix] + body)
        except DataError:
            continue
        np.testing.assert_array_equal(found.voxels, VOXELS)


@pytest.mark.parametrize("suffix", READERS)
def test_whatever_happens_to_a_header_the_answer_is_typed(suffix: str) -> None:
    """Bytes of a header overwritten: a volume of the bytes that are there, or a `DataError`."""
    rng = np.random.default_rng(12)
    for _ in range(400):
        content = bytearray(HEADERS[suffix] + RAW)
        for index in rng.integers(0, len(HEADERS[suffix]), rng.integers(1, 4)):
            content[index] = rng.choice(list(b"\r\n\t =:-0123456789eE./%()#\x00\x80\xff"))
        try:
            found = READERS[suffix](bytes(content))
        except DataError:
            continue
        assert found.voxels.nbytes == len(RAW)
