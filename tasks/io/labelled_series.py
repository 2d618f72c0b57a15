"""DICOM series as labelled images: the only series of a folder, or of a file."""

from tasks.core.errors import DataError
from tasks.core.scan_entries import ScanEntry
from tasks.core.volumes import Grid, Volume
from tasks.io import storage
from tasks.io.dicom_series import read_slices
from tasks.io.scan_containers import open_container
from tasks.io.scan_index import ContainerIndex
from tasks.io.scan_sources import Container


def read_series(uri: str) -> Volume:
    """Return the only series of a folder, or of a file.

    Raises:
        DataError: If there is none, more than one, or it does not lie on one grid.
        StorageError: If nothing is there or the store does not answer.
    """
    index, entry, grid = _only_series(uri)
    return Volume(read_slices(index, entry, 0, entry.n_slices), grid, warnings=entry.warnings)


def read_grid(uri: str) -> Grid:
    """Return the grid of the only series of a folder, or of a file, without reading pixels (see `read_series`)."""
    return _only_series(uri)[2]


def _only_series(uri: str) -> tuple[ContainerIndex, ScanEntry, Grid]:
    index = open_container(Container("", tuple(storage.list_objects(uri))), "memory://series.gzidx")
    if len(index.entries) != 1:
        raise DataError(
            "ambiguous_series", f"{len(index.entries)} DICOM series were found where one was expected; keep one."
        )
    [entry] = index.entries
    if entry.error_code:
        raise DataError(entry.error_code, entry.error or "")
    if entry.grid is None:
        raise DataError("missing_position", "The series has no grid.")
    if entry.missing:
        raise DataError(
            "missing_slices",
            f"{len(entry.missing)} of {entry.grid.shape[0]} slices are missing; a labelled series must be whole.",
        )
    return index, entry, entry.grid
