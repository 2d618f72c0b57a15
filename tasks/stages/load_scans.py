"""Stage load: scans to slices of the model's input size (read, decode, map to 8 bits, resize)."""

import posixpath
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tasks.core.appearance import appearance_of
from tasks.core.config.intensity import HuConfig
from tasks.core.errors import DataError, as_refusal
from tasks.core.intensity import hu_to_uint8, slice_to_uint8
from tasks.core.model_input import ModelInput
from tasks.core.turns import STORED, turned
from tasks.core.volumes import (
    Grid,
    Layout,
    Volume,
    check_finite,
    check_reading,
    check_shapes,
    check_sides,
    check_values,
    count_lung_like,
)
from tasks.io import storage
from tasks.io.dicom_series import read_or_refuse, read_slices
from tasks.io.formats import layout_of, read_image, read_orientation, read_volume
from tasks.io.scan_sources import ScanSource
from tasks.io.scans import entry_of
from tasks.stages.chunk import Loaded

TURNED = "Turned by its EXIF orientation to be read; the mask lies on the pixels as they are stored."
APPEARANCE_EVERY = 8
"""Slices from one whose appearance is measured to the next: 0.6 ms each."""
PIECE_SLICES = 128
"""Slices of a series that are loaded and predicted together: 134 MB as float32 at 512x512."""


@dataclass(frozen=True, slots=True)
class LoadedScan:
    """Scan, or piece of a scan, between the stages.

    Attributes:
        source: Scan as listed.
        seconds: Seconds spent on it so far.
        refused: Reason of its rejection.
        n_slices: Number of its slices in the chunk.
        shape: (H, W) of its slices in reading orientation.
        image: Its slice on the source grid if it has only one, for the preview.
        grid: Grid of the whole scan; None if it has no position in space.
        warnings: Warnings for the user.
        forms: Fields of a NIfTI header that say where the scan lies (`Volume.forms`).
        value_range: Smallest and largest value in the chunk; None for a single slice file.
        missing: Places of the grid without a slice, along its first axis.
        has_volume: Whether volumes can be given in millilitres.
        is_oriented: Whether it is known which side is the patient's right.
        orientation: Orientation by which a slice was turned to be read (`core.turns`).
        lung_like: Number of voxels with values as of aerated lung, and of voxels looked at; None if values are no
            Hounsfield units.
        appearance: Appearance of every `APPEARANCE_EVERY`-th slice, float32 `(n, F)`; None before it is loaded.
        n_read: Bytes read from storage.
    """

    source: ScanSource
    seconds: float = 0.0
    refused: DataError | None = None
    n_slices: int = 0
    shape: tuple[int, int] = (0, 0)
    image: np.ndarray | None = None
    grid: Grid | None = None
    warnings: tuple[str, ...] = ()
    forms: Mapping[str, np.ndarray] = field(default_factory=dict)
    value_range: tuple[float, float] | None = None
    missing: tuple[int, ...] = ()
    has_volume: bool = True
    is_oriented: bool = False
    orientation: int = STORED
    lung_like: tuple[int, int] | None = None
    appearance: np.ndarray | None = None
    n_read: int = 0


def held_slices(scan: LoadedScan, n_slices: int) -> np.ndarray:
    """Return whether each slice in reading orientation is there and no other stands for it, bool `(n_slices,)`."""
    gone = np.zeros((n_slices, 1, 1), bool)
    if scan.missing and scan.grid and scan.grid.is_read_slice_by_slice:
        Grid(gone.shape, scan.grid.affine).from_reading(gone)[list(scan.missing)] = True  # a view
    held: np.ndarray = ~gone[:, 0, 0]
    return held


Opened = tuple[LoadedScan, Iterable[np.ndarray]]
"""Scan, and its slices uint8 `(H, W)` in reading orientation, yielded one by one to bound memory."""


def cut(scan: ScanSource) -> list[ScanSource]:
    """Return the pieces of a long series; any other scan is one piece."""
    if not scan.can_be_cut or scan.n_slices <= PIECE_SLICES:
        return [scan]
    pieces = [(start, min(start + PIECE_SLICES, scan.n_slices)) for start in range(0, scan.n_slices, PIECE_SLICES)]
    return [replace(scan, piece=(first, last), parts=scan.parts[first:last]) for first, last in pieces]


def load_scans(scans: Sequence[ScanSource], model_input: ModelInput) -> Loaded:
    """Read and decode scans, and bring their slices to the model's input; a rejected scan has no slices.

    Args:
        scans: Whole scans, or one piece of a scan.
        model_input: Input of the model.

    Returns:
        Slices uint8 `(N, size_px, size_px)`, scan by scan; as the rest, every scan as a `LoadedScan`.
    """
    started = time.perf_counter()
    contents = storage.map_in_parallel(_read_small, scans)
    share_s = (time.perf_counter() - started) / max(len(scans), 1)
    loaded, slices = [], []
    for scan, content in zip(scans, contents, strict=True):
        found, images = _load(scan, content, model_input, seconds=share_s)
        loaded.append(found)
        slices.extend(images)
    stacked = np.stack(slices) if slices else np.empty((0, model_input.size_px, model_input.size_px), np.uint8)
    n_held = sum(scan.image.nbytes for scan in loaded if scan.image is not None)
    return Loaded(stacked, loaded, n_held=n_held, n_read=sum(scan.n_read for scan in loaded))


def _load(
    scan: ScanSource, content: bytes | DataError | None, model_input: ModelInput, *, seconds: float
) -> tuple[LoadedScan, list[np.ndarray]]:
    """Return a loaded scan and its slices."""
    source = replace(scan, parts=())  # what is read is not needed any more
    if isinstance(content, DataError):
        return LoadedScan(source, seconds, refused=content), []
    started = time.perf_counter()
    try:
        found, slices = _OPENERS[layout_of(scan.kind)](scan, content or b"", model_input.hu)
        images, appearance = [], []
        for number, image in enumerate(slices):
            resized = model_input.resized(image)
            images.append(model_input.of_resized(resized))
            if number % APPEARANCE_EVERY == 0:
                appearance.append(appearance_of(resized))
    except Exception as err:  # noqa: BLE001 - the boundary of one scan
        return LoadedScan(source, seconds + time.perf_counter() - started, refused=as_refusal(err)), []
    seconds += time.perf_counter() - started
    n_read = found.n_read + len(content or b"")
    found = replace(found, source=source, seconds=seconds, n_slices=len(images), n_read=n_read)
    return replace(found, appearance=np.array(appearance)), images


def _open_slice(scan: ScanSource, content: bytes, hu: HuConfig) -> Opened:
    del hu  # 8-bit slices are never Hounsfield units
    image = slice_to_uint8(read_image(name_of(scan), content))
    check_reading((1, *image.shape))
    check_values(image)
    orientation = read_orientation(name_of(scan), content)
    image = turned(image, orientation)
    warnings = () if orientation == STORED else (TURNED,)
    loaded = LoadedScan(
        scan, shape=(image.shape[0], image.shape[1]), image=image, orientation=orientation, warnings=warnings
    )
    return loaded, [image]


def _open_stack(scan: ScanSource, content: bytes, hu: HuConfig) -> Opened:
    del content, hu  # slices are read here
    images, n_read = [], 0
    for part, found in zip(scan.parts, storage.map_in_parallel(_read_small, scan.parts), strict=True):
        if isinstance(found, DataError):
            raise found
        images.append(slice_to_uint8(read_image(name_of(part), found or b"")))
        n_read += len(found or b"")
    check_shapes(image.shape for image in images)
    check_sides(images[0].shape)
    check_reading((len(images), *images[0].shape))
    values = np.stack(images)
    value_range = float(values.min()), float(values.max())
    loaded = LoadedScan(scan, shape=values.shape[1:], warnings=scan.warnings, value_range=value_range, n_read=n_read)
    return loaded, images


def _open_volume(scan: ScanSource, content: bytes, hu: HuConfig) -> Opened:
    volume = read_stored_volume(scan, content)
    volume.check()
    read = volume.grid.to_reading(volume.voxels)
    check_reading(read.shape)
    loaded = LoadedScan(
        scan,
        shape=read.shape[1:],
        grid=volume.grid,
        warnings=volume.warnings,
        forms=volume.forms,
        is_oriented=volume.is_oriented,
    )
    if volume.unit == "grey":
        return loaded, volume.slices()
    value_range = float(volume.voxels.min()), float(volume.voxels.max())
    images = (hu_to_uint8(image, hu) for image in volume.slices())
    return replace(loaded, value_range=value_range, lung_like=count_lung_like(read)), images


def _open_series(scan: ScanSource, content: bytes, hu: HuConfig) -> Opened:
    del content  # files are read one by one
    index, entry = entry_of(scan)
    grid = entry.grid
    if grid is None:
        raise DataError("missing_position", "The series has no grid.")
    first, last = grid.stored_range(*(scan.piece or (0, entry.n_slices)))
    stored = read_slices(index, entry, first, last)
    check_finite(stored)  # a piece may be constant; the whole scan is checked when its pieces are joined
    read = Grid((len(stored), *stored.shape[1:]), grid.affine).to_reading(stored)
    check_reading(read.shape)  # of the piece
    loaded = LoadedScan(
        scan,
        shape=read.shape[1:],
        grid=grid,
        warnings=(*scan.warnings, *entry.warnings),
        missing=entry.missing,
        has_volume=entry.has_volume,
        is_oriented=True,  # a series without orientation is refused
        value_range=(float(stored.min()), float(stored.max())),
        lung_like=count_lung_like(read),
        n_read=sum(entry.files[number].size_bytes for number in {*entry.file_indices[first:last]}),
    )
    return loaded, (hu_to_uint8(image, hu) for image in read)


_OPENERS: dict[Layout, Callable[[ScanSource, bytes, HuConfig], Opened]] = {
    "slice": _open_slice,
    "stack": _open_stack,
    "volume": _open_volume,
    "series": _open_series,
}


def read_stored_volume(scan: ScanSource, content: bytes) -> Volume:
    """Return the volume of a scan, with the voxels beside its header where they are in another file.

    Args:
        scan: Scan that is a volume.
        content: Its file, or its header.

    Raises:
        DataError: If the reader rejects the content.
        StorageError: If the voxels are gone or the store does not answer.
    """
    index, entry = entry_of(scan)
    data = [(posixpath.basename(file.member or file.uri), index.read(file)) for file in entry.files[1:]]
    return read_volume(name_of(scan), content, *data)


def name_of(scan: ScanSource) -> str:
    """Return the path of the first file of a scan, by whose suffix it is read."""
    file = entry_of(scan)[1].files[0]
    return file.member or file.uri


def _read_small(scan: ScanSource) -> bytes | DataError | None:
    """Return the bytes of a single-file scan; None for other scans."""
    if layout_of(scan.kind) in ("series", "stack"):
        return None
    index, entry = entry_of(scan)
    return read_or_refuse(index, entry.files[0])
