"""Voxels after a text header, packed or not: their number, grid and array.

A foreign header never reaches a library that opens paths. Voxels are accepted only if there are exactly as many as the
header claims and, if they are packed, their checksum is right.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from tasks.core.errors import DataError
from tasks.core.volumes import LPS_TO_RAS, Grid, Volume

MAX_VOXELS: Final = 1 << 29
"""Largest volume: 1,000 slices of 512x512 are half of it."""

ZLIB_OR_GZIP: Final = 47
GZIP: Final = 31
"""Window bits of zlib: 15, plus the expected header and checksum."""

_MAX_INFLATION: Final = 1032
"""Largest compression factor of deflate. Source: zlib.net/zlib_tech.html, «Maximum Compression Factor»."""

_PIECE_BYTES: Final = 1 << 20
"""Packed bytes inflated at once: 3 MB of a CT beside the array. Smaller pieces take 5 % longer."""

NO_ORIENTATION: Final = "The header gives no orientation; the array is taken as stored in LPS+."
NO_POSITION: Final = "The header gives no position; the first voxel is taken to lie at 0, 0, 0."


def detached_voxels(reason: str) -> DataError:
    """Return the rejection of a header that refers to another file, which could be any on this machine.

    Only a file of the header's own name in the same folder is read with it (`io.file_roles`).
    """
    return DataError(
        "unsupported_format", f"Its voxels are not with it ({reason}): send both under one name, or as one file."
    )


def check_data_file(named: str, name: str) -> None:
    """Refuse a header that refers to another file than the one beside it.

    Raises:
        DataError: `unsupported_format`.
    """
    if named != name:
        raise detached_voxels("the header names another file than the one of its own name beside it")


def check_sides(sides: Sequence[int]) -> None:
    """Refuse a volume without voxels, or with too many, before memory is allocated.

    Raises:
        DataError: `unreadable` or `too_large`.
    """
    shown = " × ".join(map(str, sides))
    if min(sides) < 1:
        raise DataError("unreadable", f"The volume has {shown} voxels; no side may be below 1. Export the scan again.")
    if math.prod(sides) > MAX_VOXELS:
        raise DataError("too_large", f"The volume has {shown} voxels; at most {MAX_VOXELS} are read.")


def lps_grid(sides: Sequence[int], steps_mm: np.ndarray, origin_mm: Sequence[float]) -> Grid:
    """Return the grid `(slice, row, column)` of an array that is stored column by column.

    Args:
        sides: Voxels along column, row and slice axis.
        steps_mm: From a voxel to the next along each of these axes, as columns, LPS+, `(3, 3)`.
        origin_mm: Centre of the first voxel, LPS+.

    Raises:
        DataError: `bad_affine` or `zero_spacing`.
    """
    columns, rows, slices = sides
    lps = np.eye(4)
    lps[:3, :3] = steps_mm[:, ::-1]
    lps[:3, 3] = origin_mm
    grid = Grid((slices, rows, columns), LPS_TO_RAS @ lps)
    grid.check()
    return grid


def read_volume_body(
    body: memoryview, grid: Grid, dtype: np.dtype, *, window_bits: int | None, warnings: tuple[str, ...] = ()
) -> Volume:
    """Return the volume of a file whose voxels follow its header.

    Args:
        body: The file from its first voxel to its end.
        grid: Grid of the voxels.
        dtype: Type of a stored voxel, with its byte order.
        window_bits: `ZLIB_OR_GZIP` or `GZIP` if voxels are packed.
        warnings: Warnings for the user.

    Returns:
        Voxels in the byte order of this machine.

    Raises:
        DataError: `unreadable` if there are fewer or more bytes than the grid needs, or packed ones are damaged.
    """
    n_bytes = math.prod(grid.shape) * dtype.itemsize
    if window_bits is not None:
        stored = _inflated(body, n_bytes, window_bits).view(dtype)
    elif len(body) == n_bytes:
        stored = np.frombuffer(body, dtype).copy()  # aligned, and without the header behind it
    else:
        raise DataError(
            "unreadable", f"The file holds {len(body)} bytes of voxels; its header claims {n_bytes}. Upload it again."
        )
    native = stored.astype(dtype.newbyteorder("="), copy=False)
    return Volume(native.reshape(grid.shape), grid, warnings, is_oriented=NO_ORIENTATION not in warnings)


def _inflated(body: memoryview, n_bytes: int, window_bits: int) -> np.ndarray:
    """Return the content of a zlib or gzip stream, uint8 `(n_bytes,)`; never a byte more is unpacked.

    zlib checks the checksum at the end of the stream.
    """
    if n_bytes > _MAX_INFLATION * len(body):
        raise _damaged(f"{len(body)} packed bytes cannot hold the {n_bytes} that the header claims")
    inflated, n_done = np.empty(n_bytes, np.uint8), 0
    stream = zlib.decompressobj(window_bits)
    for start in range(0, len(body), _PIECE_BYTES):
        try:
            piece = stream.decompress(body[start : start + _PIECE_BYTES], n_bytes - n_done + 1)
        except zlib.error as err:
            raise _damaged("they do not unpack, or their checksum is wrong") from err
        if n_done + len(piece) > n_bytes:
            raise _damaged(f"they unpack to more than the {n_bytes} bytes that the header claims")
        inflated[n_done : n_done + len(piece)] = np.frombuffer(piece, np.uint8)
        n_done += len(piece)
        if stream.eof:
            break
    is_whole = stream.eof and not stream.unused_data and start + _PIECE_BYTES >= len(body)
    if not is_whole or n_done != n_bytes:
        raise _damaged(f"they unpack to {n_done} bytes where the header claims {n_bytes}, or something follows them")
    return inflated


def _damaged(reason: str) -> DataError:
    return DataError("unreadable", f"The packed voxels are damaged: {reason}. Upload it again.")
