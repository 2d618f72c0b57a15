"""What every entry of `FORMATS` must hold; a new one is tested by being there, and by a sample in `format_samples`."""

from collections import Counter

import numpy as np
import pytest

from tasks.core.errors import DataError
from tasks.core.volumes import Grid, Volume
from tasks.io.formats import FORMATS, KINDS, kind_of, read_grid, read_volume, shown_formats, without_suffix
from tests.format_samples import SLICES, VOLUMES

SLICE_FORMATS = [name for name, found in FORMATS.items() if found.layout == "slice"]
VOLUME_FORMATS = [name for name, found in FORMATS.items() if found.layout == "volume"]
READERS = [
    (name, reader)
    for name, found in FORMATS.items()
    for reader in ("read_slice", "read_labels", "read_volume", "read_grid")
    if getattr(found, reader)
]
PIXELS = (np.arange(9 * 7) * 37 % 251).astype(np.uint8).reshape(9, 7)
VOXELS = (np.arange(3 * 5 * 4) * 37 % 1001 - 900).astype(np.int16).reshape(3, 5, 4)
AFFINE = np.array([[0.1, -0.2, 0.7, -31], [0.3, 0.7, 0.1, 12.5], [2.5, -0.2, 0.1, 7], [0, 0, 0, 1]])
"""Oblique, sheared a little, all spacings different: an axis that is swapped or turned shows."""


def _sample(name: str) -> bytes:
    return SLICES[name](PIXELS) if name in SLICE_FORMATS else VOLUMES[name](VOXELS, _grid())


def _grid() -> Grid:
    """Return a grid whose axes stand at right angles, as DICOM and ITK ask for."""
    axes, _ = np.linalg.qr(AFFINE[:3, :3])
    affine = AFFINE.copy()
    affine[:3, :3] = axes * [2.5, 0.8, 0.7]
    return Grid((3, 5, 4), affine)


def test_every_format_has_a_sample() -> None:
    """Formats of one file a scan are read back below: without a sample nothing is known of them."""
    assert set(SLICE_FORMATS) == SLICES.keys(), "add the format to SLICES of tests/format_samples.py"
    assert set(VOLUME_FORMATS) == VOLUMES.keys(), "add the format to VOLUMES of tests/format_samples.py"


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_found_by_its_suffixes(name: str) -> None:
    """Each suffix is lower case, leads to this format alone, in capitals too, and is taken off whole."""
    found = FORMATS[name]
    assert found.name == name
    assert found.suffixes
    assert found.shown in shown_formats()
    claims = Counter(suffix for other in FORMATS.values() for suffix in other.suffixes)
    for suffix in found.suffixes:
        assert suffix.startswith(".")
        assert suffix == suffix.lower()
        assert claims[suffix] == 1
        assert KINDS[suffix] == kind_of(f"a/b.c{suffix.upper()}") == name
        assert without_suffix(f"a/b.c{suffix}") == "a/b.c"


@pytest.mark.parametrize("name", SLICE_FORMATS)
@pytest.mark.parametrize("reader", ["read_slice", "read_labels"])
def test_slices_read_back_as_written(name: str, reader: str) -> None:
    """Grey values, and the labels of a mask, are the very ones written."""
    found = getattr(FORMATS[name], reader)(_sample(name))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, PIXELS)


@pytest.mark.parametrize("name", VOLUME_FORMATS)
def test_volumes_read_back_as_written(name: str) -> None:
    """Voxels are the very ones written, of the same type, and lie where they lay."""
    found = read_volume(f"scan{FORMATS[name].suffixes[0]}", _sample(name))
    assert isinstance(found, Volume)
    assert found.voxels.dtype == VOXELS.dtype
    assert found.warnings == ()
    np.testing.assert_array_equal(found.voxels, VOXELS)
    assert found.grid.shape == VOXELS.shape
    np.testing.assert_allclose(found.grid.affine, _grid().affine, atol=1e-5)


@pytest.mark.parametrize("name", VOLUME_FORMATS)
def test_geometry_is_the_same_without_the_voxels(name: str) -> None:
    """What is read of the header alone is the grid that the volume has."""
    path, content = f"scan{FORMATS[name].suffixes[0]}", _sample(name)
    grid, whole = read_grid(path, content), read_volume(path, content).grid
    assert grid.shape == whole.shape
    np.testing.assert_array_equal(grid.affine, whole.affine)


@pytest.mark.parametrize(("name", "reader"), READERS)
def test_what_is_no_such_file_is_refused(name: str, reader: str) -> None:
    """Nothing, text, noise and half a header bring out a `DataError`, and no other error."""
    read, noise = getattr(FORMATS[name], reader), np.random.default_rng(0).bytes(4096)
    for content in (b"", b"\n", b"Dear colleague", noise, _sample(name)[:20]):
        with pytest.raises(DataError):
            read(content)


@pytest.mark.parametrize("name", [*SLICE_FORMATS, *VOLUME_FORMATS])
def test_what_is_cut_short_is_refused(name: str) -> None:
    """A file that lost its end is never read as a smaller scan."""
    content, found = _sample(name), FORMATS[name]
    for n_bytes in (len(content) // 2, len(content) * 3 // 4):
        with pytest.raises(DataError):
            (found.read_slice or found.read_volume)(content[:n_bytes])  # type: ignore[misc]


@pytest.mark.parametrize("name", VOLUME_FORMATS)
def test_an_empty_volume_is_named_so(name: str) -> None:
    """A file of no bytes is an upload that failed, whatever the format."""
    with pytest.raises(DataError) as caught:
        read_volume(f"scan{FORMATS[name].suffixes[0]}", b"")
    assert caught.value.code == "empty_file"
