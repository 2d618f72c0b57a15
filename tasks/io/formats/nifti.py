"""NIfTI-1 and -2 volumes, plain or gzipped: reading and writing."""

import contextlib
import gzip
import io
import math
import warnings
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tasks.core.errors import DataError
from tasks.core.volumes import Grid, Volume
from tasks.io.formats.format import Format, MaskWriter, ScanMask

GZIP_MAGIC = b"\x1f\x8b"
MAX_BYTES = 2 << 30
"""Largest unpacked file: 1,000 slices of 512x512 in float32 are 1 GiB."""

CHUNK_BYTES = 16 << 20

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
        image = _parse(_unpacked(content))
        grid = _grid(image)
        if image.get_data_dtype().fields is not None or image.get_data_dtype().kind not in "iuf":
            raise DataError(
                "unsupported_format", f"Voxels are of type {image.get_data_dtype()}; numbers were expected."
            )
        header = image.header
        has_orientation = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
        warning = "The header gives no orientation (sform and qform codes are 0); the array is taken as stored in RAS+."
        is_scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)  # type: ignore[attr-defined]
        voxels = image.get_fdata(dtype=np.float32) if is_scaled else np.asanyarray(image.dataobj)  # not in float64
    return Volume(voxels.reshape(grid.shape), grid, warnings=() if has_orientation else (warning,))


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
    grid = Grid(shape, np.asarray(image.affine, float))
    grid.check()
    return grid


def write_nifti_mask(mask: np.ndarray, grid: Grid) -> bytes:
    """Return a mask of 0 and 1 as gzipped NIfTI; the same mask gives the same bytes.

    Args:
        mask: uint8, of the grid's shape.
        grid: Its grid.
    """
    import nibabel as nib

    image = nib.Nifti1Image(mask, grid.affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _write(mask: ScanMask) -> bytes:
    return write_nifti_mask(*mask.as_stored("ijk"))


def _unpacked(content: bytes) -> bytes:
    """Return the content of a gzip file, up to a limit, because a hostile one could fill the memory."""
    if not content.startswith(GZIP_MAGIC):
        return content
    parts, n_bytes = [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        while part := file.read(CHUNK_BYTES):
            n_bytes += len(part)
            if n_bytes > MAX_BYTES:
                raise DataError("too_large", f"The file unpacks to more than {MAX_BYTES >> 20} MiB, which are read.")
            parts.append(part)
    return b"".join(parts)


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
    (".nii", ".nii.gz"),
    read_volume=read_nifti,
    read_grid=read_nifti_grid,
    axis_order="ijk",
)

NIFTI_MASK = MaskWriter("nifti", "NIfTI", "nii.gz", frozenset({"stack", "volume", "series"}), _write)
"""Writer of masks of 0 and 1 on the grid of the scan."""
