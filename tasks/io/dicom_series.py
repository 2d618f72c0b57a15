"""DICOM series as arrays: read file by file, several at a time, in the order of their positions."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from tasks.core.errors import DataError, StorageError, as_refusal
from tasks.core.volumes import Grid, Volume
from tasks.io import storage
from tasks.io.formats import dicom
from tasks.io.scan_containers import Container
from tasks.io.scan_index import ContainerIndex, ScanEntry, ScanFile


def read_slices(index: ContainerIndex, entry: ScanEntry, first: int, last: int) -> np.ndarray:
    """Return slices of a series as stored, float32 `(last - first, H, W)` in Hounsfield units.

    Raises:
        DataError: If one of its files cannot be read, or is not what its header said.
    """
    return np.stack(list(_frames(index, entry, range(first, last))))


def read_series(uri: str) -> Volume:
    """Return the one series of a folder, or of a file.

    Raises:
        DataError: If there is none, more than one, or it does not lie on one grid.
        StorageError: If nothing is there or the store does not answer.
    """
    index, entry, grid = _only_series(uri)
    return Volume(read_slices(index, entry, 0, entry.n_slices), grid, warnings=entry.warnings)


def read_grid(uri: str) -> Grid:
    """Return where the one series of a folder, or of a file, lies; no pixel is read (see `read_series`)."""
    return _only_series(uri)[2]


def _only_series(uri: str) -> tuple[ContainerIndex, ScanEntry, Grid]:
    index = Container("", tuple(storage.list_objects(uri))).index("memory://series")
    if len(index.entries) != 1:
        raise DataError(
            "ambiguous_series", f"{len(index.entries)} DICOM series were found where one was expected; keep one."
        )
    [entry] = index.entries
    if entry.error_code:
        raise DataError(entry.error_code, entry.error or "")
    if entry.grid is None:
        raise DataError("missing_position", "The series has no grid.")
    return index, entry, entry.grid


def read_or_refuse(index: ContainerIndex, file: ScanFile) -> bytes | DataError:
    """Return the bytes of a file, or why they could not be had."""
    try:
        return index.read(file)
    except StorageError as err:
        return err.as_refusal()
    except Exception as err:  # noqa: BLE001 - the boundary of one file
        return as_refusal(err)


def _frames(index: ContainerIndex, entry: ScanEntry, wanted: range) -> Iterator[np.ndarray]:
    places = sorted({entry.places[number] for number in wanted})
    contents = storage.map_in_parallel(lambda place: read_or_refuse(index, entry.files[place]), places)
    by_place = dict(zip(places, contents, strict=True))
    for place, numbers in groupby(wanted, key=lambda number: entry.places[number]):
        content = by_place[place]
        if isinstance(content, DataError):
            raise content
        frames = dicom.read_frames(content, [entry.frames[number] for number in numbers])
        if entry.shape is None or frames.shape[1:] != entry.shape[1:]:
            raise DataError("mixed_geometry", f"A slice is {frames.shape[1:]} px, its header said otherwise.")
        yield from frames
