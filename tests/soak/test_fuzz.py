"""Bytes nobody wrote: readers and archive code answer with typed errors, or with what is there, and nothing else."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.errors import DataError
from tasks.io.archives import Archive, list_members, read_member
from tasks.io.formats import dicom, read_image
from tasks.io.formats.metaimage import read_metaimage
from tasks.io.formats.nifti import read_nifti
from tasks.io.formats.nrrd import read_nrrd
from tests.bad_inputs import GRID, VOXELS, good, pack, png
from tests.volumes import to_bytes, to_dicom, to_nifti

pytestmark = [pytest.mark.soak]

FUZZ = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "png": (png(), lambda content: read_image("a.png", content)),
    "nifti": (to_nifti(VOXELS, GRID, is_gzipped=False), read_nifti),
    "gzipped nifti": (to_nifti(VOXELS, GRID), read_nifti),
    "mha": (good()["good/volume.mha"], read_metaimage),
    "nrrd": (good()["good/volume.nrrd"], read_nrrd),
    "dicom header": (to_bytes(to_dicom(VOXELS, GRID)[0]), dicom.read_header),
    "dicom frames": (to_bytes(to_dicom(VOXELS, GRID)[0]), lambda content: dicom.read_frames(content, [0])),
}


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Return what cuts a file short, overwrites some of its bytes, or both; most of it near the start."""
    cut = draw(st.one_of(st.none(), st.floats(0, 1)))
    hits = draw(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.binary(min_size=1, max_size=8)), max_size=6))

    def do(content: bytes) -> bytes:
        damaged = bytearray(content[: len(content) if cut is None else int(cut * len(content))])
        for share, is_early, found in hits:
            start = int(share * (min(512, len(damaged)) if is_early else len(damaged)))
            damaged[start : start + len(found)] = found
        return bytes(damaged)

    return do


@pytest.mark.parametrize("kind", READERS)
@FUZZ
@given(do=damage())
def test_a_damaged_file_gives_a_typed_error_or_what_is_there(kind: str, do: Callable[[bytes], bytes]) -> None:
    """No reader raises anything but a `DataError`, and none hangs or fills the memory."""
    content, read = READERS[kind]
    with contextlib.suppress(DataError):
        assert read(do(content)) is not None


@pytest.mark.parametrize("packing", sorted({"zip", "tar", "tgz"}))
@FUZZ
@given(do=damage())
def test_a_damaged_archive_gives_typed_errors(packing: str, do: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Listing and reading what is listed raise nothing but a `DataError`."""
    whole, path = tmp_path / "whole", tmp_path / f"damaged-{np.random.default_rng().integers(1 << 60)}"
    pack(packing, {f"folder/{n}.png": png(20 + n) for n in range(6)}, whole)
    path.write_bytes(do(whole.read_bytes()))
    archive = Archive(path.as_uri(), path.stat().st_size, "1", packing, (tmp_path / "points").as_uri())  # type: ignore[arg-type]
    members = []
    with contextlib.suppress(DataError):
        members.extend(list_members(archive))
    for member in members:
        with contextlib.suppress(DataError):
            assert len(read_member(archive, member)) == member.size_bytes
