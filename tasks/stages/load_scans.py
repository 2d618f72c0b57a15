"""Scans to slices of the model's size: read, decode, map to 8 bits, resize; one that is bad brings none."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tasks.core.config.intensity import HuConfig
from tasks.core.errors import DataError, as_refusal
from tasks.core.geometry import resize_slice
from tasks.core.intensity import hu_to_uint8, slice_to_uint8
from tasks.core.volumes import Grid, check_finite, check_shapes, check_sides, check_values
from tasks.io import storage
from tasks.io.dicom_series import read_or_refuse, read_slices
from tasks.io.formats import layout_of, read_image, read_volume
from tasks.io.formats.format import Layout
from tasks.io.scan_index import ContainerIndex, IndexFile, ScanEntry
from tasks.io.scans import ScanSource
from tasks.stages.chunk import Loaded

PIECE_SLICES = 128
"""Slices of a series that are loaded and predicted at once: 134 MB as float32 at 512x512."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a scan, or a piece of one, turned out to hold.

    Attributes:
        slices: As a reader sees them, uint8 `(H, W)` each; drawn one by one, so that few are in memory.
        shape: (H, W) of each.
        grid: Of the whole scan; None where it has no place in space.
        warnings: What a reader should know.
        value_range: Smallest and largest value; None where one slice was looked at by itself.
        is_hu: Whether values are Hounsfield units.
        n_read: Bytes read from storage besides the one file that was read beforehand.
    """

    slices: Iterable[np.ndarray]
    shape: tuple[int, int]
    grid: Grid | None = None
    warnings: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    is_hu: bool = False
    n_read: int = 0


@dataclass(frozen=True, slots=True)
class LoadedScan:
    """A scan, or a piece of one, between the stages.

    Attributes:
        source: Where it is from.
        seconds: Spent on it so far.
        refused: Why it was set aside.
        n_slices: Of it in the chunk.
        shape: (H, W) of its slices as a reader sees them.
        image: Its slice on its own grid where it has but one, for the preview.
        grid: Of the whole scan; None where it has no place in space.
        warnings: What a reader should know.
        value_range: Smallest and largest value in the chunk; None where one slice was looked at by itself.
        is_hu: Whether values are Hounsfield units.
    """

    source: ScanSource
    seconds: float
    refused: DataError | None = None
    n_slices: int = 0
    shape: tuple[int, int] = (0, 0)
    image: np.ndarray | None = None
    grid: Grid | None = None
    warnings: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    is_hu: bool = False


def cut(scan: ScanSource) -> list[ScanSource]:
    """Return the pieces a long series is worked on in; any other scan is one."""
    if not scan.can_be_cut or scan.n_slices <= PIECE_SLICES:
        return [scan]
    pieces = [(start, min(start + PIECE_SLICES, scan.n_slices)) for start in range(0, scan.n_slices, PIECE_SLICES)]
    return [replace(scan, piece=(first, last), parts=scan.parts[first:last]) for first, last in pieces]


def load_scans(scans: Sequence[ScanSource], *, size_px: int, hu: HuConfig) -> Loaded:
    """Read, decode and resize scans; one that is bad brings no slice.

    Args:
        scans: Whole, or one piece of one.
        size_px: Side of the model's input.
        hu: How Hounsfield units become the model's input.

    Returns:
        Slices uint8 `(N, size_px, size_px)`, scan by scan; as the rest, every scan as a `LoadedScan`.
    """
    started = time.perf_counter()
    contents = storage.map_in_parallel(_read_small, scans)
    share_s = (time.perf_counter() - started) / max(len(scans), 1)
    loaded, slices, n_read = [], [], 0
    for scan, content in zip(scans, contents, strict=True):
        found, resized, n_bytes = _load(scan, content, size_px, hu, seconds=share_s)
        loaded.append(found)
        slices.extend(resized)
        n_read += n_bytes
    images = np.stack(slices) if slices else np.empty((0, size_px, size_px), np.uint8)
    n_held = sum(scan.image.nbytes for scan in loaded if scan.image is not None)
    return Loaded(images, loaded, n_held=n_held, n_read=n_read)


def _load(
    scan: ScanSource, content: bytes | DataError | None, size_px: int, hu: HuConfig, *, seconds: float
) -> tuple[LoadedScan, list[np.ndarray], int]:
    """Return a scan between the stages, its slices, and the bytes read."""
    started = time.perf_counter()
    try:
        if isinstance(content, DataError):
            raise content
        found = _OPENERS[layout_of(scan.kind)](scan, content, hu)
        resized, image = [], None
        for image in found.slices:
            resized.append(resize_slice(image, size_px))
    except Exception as err:  # noqa: BLE001 - the boundary of one scan
        refused = as_refusal(err)
        return LoadedScan(replace(scan, parts=()), seconds + time.perf_counter() - started, refused=refused), [], 0
    loaded = LoadedScan(
        replace(scan, parts=()),  # what is read is not needed any more
        seconds + time.perf_counter() - started,
        n_slices=len(resized),
        shape=found.shape,
        image=image if layout_of(scan.kind) == "slice" else None,
        grid=found.grid,
        warnings=found.warnings,
        value_range=found.value_range,
        is_hu=found.is_hu,
    )
    return loaded, resized, found.n_read + (len(content) if content else 0)


def _open_slice(scan: ScanSource, content: bytes | None, hu: HuConfig) -> Contents:
    del hu  # 8-bit slices never pretend to be Hounsfield units
    image = slice_to_uint8(read_image(_name(scan), content or b""))
    check_values(image)
    return Contents([image], (image.shape[0], image.shape[1]))


def _open_stack(scan: ScanSource, content: bytes | None, hu: HuConfig) -> Contents:
    del content, hu  # slices are read here
    images, n_read = [], 0
    for part, found in zip(scan.parts, storage.map_in_parallel(_read_small, scan.parts), strict=True):
        if isinstance(found, DataError):
            raise found
        images.append(slice_to_uint8(read_image(_name(part), found or b"")))
        n_read += len(found or b"")
    check_shapes(image.shape for image in images)
    check_sides(images[0].shape)
    values = np.stack(images)
    value_range = float(values.min()), float(values.max())
    return Contents(images, values.shape[1:], warnings=scan.warnings, value_range=value_range, n_read=n_read)


def _open_volume(scan: ScanSource, content: bytes | None, hu: HuConfig) -> Contents:
    volume = read_volume(_name(scan), content or b"")
    volume.check()
    shape = volume.grid.to_reading(volume.voxels).shape[1:]
    if volume.unit == "grey":
        return Contents(volume.slices(), shape, volume.grid, volume.warnings)
    return Contents(
        (hu_to_uint8(image, hu) for image in volume.slices()),
        shape,
        volume.grid,
        volume.warnings,
        value_range=(float(volume.voxels.min()), float(volume.voxels.max())),
        is_hu=True,
    )


def _open_series(scan: ScanSource, content: bytes | None, hu: HuConfig) -> Contents:
    del content  # files are read one by one
    index, entry = entry_of(scan)
    grid = entry.grid
    if grid is None:
        raise DataError("missing_position", "The series has no grid.")
    first, last = grid.stored_range(*(scan.piece or (0, entry.n_slices)))
    stored = read_slices(index, entry, first, last)
    check_finite(stored)  # one piece may well be constant; whether all are is seen when they are joined
    read = Grid((len(stored), *stored.shape[1:]), grid.affine).to_reading(stored)
    return Contents(
        (hu_to_uint8(image, hu) for image in read),
        read.shape[1:],
        grid,
        entry.warnings,
        value_range=(float(stored.min()), float(stored.max())),
        is_hu=True,
        n_read=sum(entry.files[place].size_bytes for place in {*entry.places[first:last]}),
    )


_OPENERS: dict[Layout, Callable[[ScanSource, bytes | None, HuConfig], Contents]] = {
    "slice": _open_slice,
    "stack": _open_stack,
    "volume": _open_volume,
    "series": _open_series,
}


def entry_of(scan: ScanSource) -> tuple[ContainerIndex, ScanEntry]:
    """Return the entry of a scan in its container's index, and that index."""
    if scan.index is None:
        entry = ScanEntry(path="", identity="", kind=scan.kind, files=(scan.file,) if scan.file else ())
        return ContainerIndex(entries=(entry,)), entry
    kept, number = scan.index
    index = _read_index(kept)
    return index, index.entries[number]


@lru_cache(4)
def _read_index(kept: IndexFile) -> ContainerIndex:
    return kept.read()


def _name(scan: ScanSource) -> str:
    file = entry_of(scan)[1].files[0]
    return file.member or file.uri


def _read_small(scan: ScanSource) -> bytes | DataError | None:
    """Return the bytes of a scan of one file; of one of many nothing yet."""
    if scan.refused:
        return DataError(*scan.refused)
    if layout_of(scan.kind) in ("series", "stack"):
        return None
    index, entry = entry_of(scan)
    return read_or_refuse(index, entry.files[0])
