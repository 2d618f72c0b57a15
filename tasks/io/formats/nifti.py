"""NIfTI-1 and -2 volumes, plain or gzipped: reading and writing."""

import bz2
import contextlib
import gzip
import io
import itertools
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tasks.core.errors import DataError
from tasks.core.volumes import POSITION_TOLERANCE_MM, Grid, Volume
from tasks.io.formats.format import Format, MaskWriter, ScanMask
from tasks.io.formats.stored_voxels import detached_voxels

GZIP_MAGIC, BZIP2_MAGIC = b"\x1f\x8b", b"BZh"
_HEADER_BYTES, _VOXELS_AT, _OFFSET_AT, _MAGIC_AT = 348, 352, 108, 344
_PAIR_MAGIC, _SINGLE_MAGIC = b"ni1\0", b"n+1\0"
"""Size of a NIfTI-1 header, first voxel of a single file, and places of `vox_offset` and `magic` (nifti1.h)."""
MAX_BYTES = 2 << 30
"""Largest unpacked file: 1,000 slices of 512x512 in float32 are 1 GiB."""

CHUNK_BYTES = 16 << 20

FORM_FIELDS = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
"""Fields of a header that say where its voxels lie; the others may name the patient."""

_SPACE_UNIT = 7
"""Bits of `xyzt_units` with the unit of space (nifti1.h)."""

_UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres by code of the unit of space (nifti1.h, NIFTI_UNITS); unknown is taken for mm, as everywhere."""

if TYPE_CHECKING:
    import nibabel as nib


def read_nifti(content: bytes) -> Volume:
    """Return a volume on the grid it is stored on.

    Args:
        content: The whole file, gzipped or not.

    Returns:
        Its voxels as stored, scaled by slope and intercept where the header has them.

    Raises:
        DataError: `unreadable`, `too_large`, `not_3d`, `bad_affine`, `zero_spacing` or `unsupported_format`.
    """
    with _errors():
        unpacked = _unpacked(content)
        if unpacked[_MAGIC_AT : _MAGIC_AT + 4] == _PAIR_MAGIC:
            raise detached_voxels("it is the header of an .img")
        return _volume(_parse(unpacked))


def read_nifti_pair(header: bytes, voxels: bytes, name: str) -> Volume:
    """Return the volume of a header (.hdr) whose voxels lie in another file (.img); see `read_nifti`."""
    del name  # the header gives none
    with _errors():
        if header[_MAGIC_AT : _MAGIC_AT + 4] != _PAIR_MAGIC:
            raise DataError("unsupported_format", "The header is Analyze 7.5 without NIfTI; export the scan as NIfTI.")
        endian = ">" if header[:4] == _HEADER_BYTES.to_bytes(4, "big") else "<"
        [start] = struct.unpack_from(f"{endian}f", header, _OFFSET_AT)
        joined = bytearray(header[:_MAGIC_AT] + _SINGLE_MAGIC).ljust(_VOXELS_AT, b"\0") + voxels[int(start) :]
        struct.pack_into(f"{endian}f", joined, _OFFSET_AT, _VOXELS_AT)
        return _volume(_parse(bytes(joined)))


def _volume(image: "nib.Nifti1Image") -> Volume:
    grid = _grid(image)
    if image.get_data_dtype().fields is not None or image.get_data_dtype().kind not in "iuf":
        raise DataError("unsupported_format", f"Voxels are of type {image.get_data_dtype()}; numbers were expected.")
    is_scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)  # type: ignore[attr-defined]
    voxels = image.get_fdata(dtype=np.float32) if is_scaled else np.asanyarray(image.dataobj)  # not in float64
    forms = {name: np.array(image.header[name]) for name in FORM_FIELDS}
    warnings = tuple(_warnings(image))
    return Volume(voxels.reshape(grid.shape), grid, warnings, forms, is_oriented=max(_codes(image)) > 0)


def read_nifti_grid(content: bytes) -> Grid:
    """Return the grid a volume is stored on, from its header; voxels are unpacked with it, but not used.

    Raises:
        DataError: As `read_nifti` over its header.
    """
    with _errors():
        return _grid(_parse(_unpacked(content)))


def _grid(image: "nib.Nifti1Image") -> Grid:
    shape = tuple(size for axis, size in enumerate(image.shape) if axis < 3 or size != 1)
    if len(shape) != 3:
        raise DataError("not_3d", f"The volume has the shape {image.shape}; three dimensions were expected.")
    affine = _affine(image)
    unit = int(image.header["xyzt_units"]) & _SPACE_UNIT
    if unit not in _UNITS_MM:
        raise DataError("unsupported_format", f"The unit of space is code {unit}; metres, mm or µm were expected.")
    affine[:3] *= _UNITS_MM[unit]
    grid = Grid(shape, affine)
    grid.check()
    return grid


def _affine(image: "nib.Nifti1Image") -> np.ndarray:
    """Return the affine in the header's unit: the sform; where it has no extent, the qform, as ITK does."""
    header = image.header
    if int(header["sform_code"]) > 0 and not header.get_sform()[:3, :3].any():
        qform = _qform(image)
        if qform is not None and int(header["qform_code"]) > 0:
            return qform
    return np.array(image.affine, float)


def _qform(image: "nib.Nifti1Image") -> np.ndarray | None:
    """Return the qform; None if its quaternion is invalid."""
    try:
        return np.asarray(image.header.get_qform(), float)
    except Exception:  # noqa: BLE001 - nibabel raises several kinds; the sform is there
        return None


def _codes(image: "nib.Nifti1Image") -> tuple[int, int]:
    """Return the codes of sform and qform; 0 = it says nothing."""
    return int(image.header["sform_code"]), int(image.header["qform_code"])


def _warnings(image: "nib.Nifti1Image") -> Iterator[str]:
    header, codes = image.header, _codes(image)
    if max(codes) <= 0:
        yield "The header gives no orientation (sform and qform codes are 0); the array is taken as stored in RAS+."
    if min(codes) <= 0:
        return
    qform = _qform(image)
    if qform is None:
        yield "The qform of the header is invalid; the sform is used."
        return
    if not header.get_sform()[:3, :3].any():
        yield "The sform of the header has no extent; the qform is used."
        return
    corners = np.array(list(itertools.product(*((0, size - 1) for size in image.shape[:3]), (1,))))
    apart = np.linalg.norm((corners @ (header.get_sform() - qform).T)[:, :3], axis=1).max()
    apart_mm = apart * _UNITS_MM.get(int(header["xyzt_units"]) & _SPACE_UNIT, 1.0)
    if apart_mm > POSITION_TOLERANCE_MM:
        yield f"The header's two positions (sform and qform) are up to {apart_mm:.1f} mm apart; the sform is used."


def write_nifti_mask(mask: np.ndarray, grid: Grid, forms: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Return a mask of 0 and 1 as gzipped NIfTI; the same mask gives the same bytes.

    Args:
        mask: uint8, of the grid's shape.
        grid: Its grid.
        forms: Fields of the image's header that say where it lies (`FORM_FIELDS`), so that every viewer, whichever of
            them it reads, shows the mask on the image.
    """
    return write_nifti(mask, grid, forms)


def write_nifti(voxels: np.ndarray, grid: Grid, forms: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Return voxels as gzipped NIfTI; the same voxels give the same bytes.

    Args:
        voxels: uint8, int16 or float32, of the grid's shape.
        grid: Their grid.
        forms: Fields of a header that say where they lie (`FORM_FIELDS`), instead of those of the grid.
    """
    import nibabel as nib

    image = nib.Nifti1Image(voxels, grid.affine)
    image.header.set_xyzt_units("mm")
    if forms:
        for name, value in forms.items():
            image.header[name] = value
        image = nib.Nifti1Image(voxels, None, image.header)  # with an affine, nibabel would write its own sform
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _write(mask: ScanMask) -> bytes:
    return write_nifti_mask(*mask.as_stored("ijk"), mask.forms)


def _unpacked(content: bytes) -> bytes:
    """Return the content of a gzip or bzip2 file, up to a limit, because a hostile one could fill the memory."""
    if not content.startswith((GZIP_MAGIC, BZIP2_MAGIC)):
        return content
    parts, n_bytes = [], 0
    is_gzip = content.startswith(GZIP_MAGIC)
    with gzip.open(io.BytesIO(content)) if is_gzip else bz2.open(io.BytesIO(content)) as file:
        while part := file.read(CHUNK_BYTES):
            n_bytes += len(part)
            if n_bytes > MAX_BYTES:
                raise DataError("too_large", f"The file unpacks to more than {MAX_BYTES >> 20} MiB, which are read.")
            parts.append(part)
    unpacked = b"".join(parts)
    if unpacked.startswith(GZIP_MAGIC):
        raise DataError("unreadable", "The file is gzipped twice. Unpack it once.")
    return unpacked


def _parse(content: bytes) -> "nib.Nifti1Image":
    import nibabel as nib  # here, because a driver lists scans and reads none

    kind = nib.Nifti2Image if content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Image
    header = kind.header_class.from_fileobj(io.BytesIO(content))
    n_claimed = math.prod(map(int, header.get_data_shape())) * header.get_data_dtype().itemsize
    if n_claimed > len(content):  # nibabel would allocate memory for all of it first
        raise DataError("unreadable", f"File of {len(content)} bytes claims {n_claimed} of voxels. Upload it again.")
    return kind.from_bytes(content)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Raise any error of nibabel on damaged input as a `DataError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (DataError, MemoryError):  # a MemoryError is not the fault of the file
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise DataError("unreadable", "The gzip file is damaged or cut short. Upload it again.") from err
    except Exception as err:
        raise DataError(
            "unreadable", f"File is not a whole NIfTI volume ({type(err).__name__}). Upload it again."
        ) from err


NIFTI = Format(
    "nifti",
    "NIfTI",
    (".nii", ".nii.gz", ".nii.bz2", ".hdr"),
    read_volume=read_nifti,
    read_grid=read_nifti_grid,
    axis_order="ijk",
    data_suffixes={".hdr": (".img",)},
    read_pair=read_nifti_pair,
)

NIFTI_MASK = MaskWriter("nifti", "NIfTI", "nii.gz", frozenset({"stack", "volume", "series"}), _write)
"""Writer of masks of 0 and 1 on the grid of the scan."""
