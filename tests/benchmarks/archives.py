"""A large tar and a long DICOM series on an object store: as fast as loose slices, in bounded memory, with no disk."""

import os
import shutil
import tarfile
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from tests import emulators
from tests.benchmarks.processes import Segmentation, segment
from tests.benchmarks.setting import Row, Setting
from tests.volumes import LESION_HU, LUNG_HU, Truth, grid_around, put_series, to_dicom

N_MEMBERS, MEMBER_PX = 2000, 740
"""16-bit slices of 1.1 MB: 2.2 GB."""

N_SLICES, SLICE_PX = 1000, 512
RADIUS_MM = 30.0
PRECISION = "bfloat16"


def run(setting: Setting) -> list[Row]:
    """Return time a slice, memory and disk of loose slices, of the same in a tar, and of a series."""
    store = setting.folder / "store"
    _write_slices(setting, store / "loose")
    _pack(store / "loose", store / "tar" / "slices.tar")
    _write_series(store / "series")
    with emulators.serving("gs", str(store)) as port:
        shutil.rmtree(store)
        os.environ.update(emulators.environment("gs", port))
        found = {name: _segment(setting, name) for name in ("loose", "tar", "series")}
    loose_ms = 1000 * found["loose"].seconds_a_slice
    rows = []
    for name, run in found.items():
        ms = 1000 * run.seconds_a_slice
        rows += [
            Row("archives", f"{name}, steady state", ms, "ms a slice", None if name == "loose" else loose_ms / ms),
            Row("archives", f"{name}, largest process", run.peak.process_bytes / 2**30, "GiB", None),
            Row("archives", f"{name}, disk", run.peak.disk_bytes / 2**20, "MiB", None),
            Row("archives", f"{name}, start to exit", run.seconds, "s", None),
        ]
    return rows


def _segment(setting: Setting, name: str) -> Segmentation:
    root = f"gs://{emulators.BUCKET}"
    return segment(setting.model_uri, f"{root}/{name}", f"{root}/out-{name}", PRECISION, is_watched=True)


def _write_slices(setting: Setting, folder: Path) -> None:
    """Write slices of a collection as 16-bit TIFF, uncompressed, each a little different."""
    folder.mkdir(parents=True)
    kinds = sorted(setting.scans(64).iterdir())
    for number, path in enumerate(islice(cycle(kinds), N_MEMBERS)):
        grey = cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (MEMBER_PX, MEMBER_PX))
        pixels = np.roll(grey.astype(np.uint16) << 4, number, axis=0)
        cv2.imwrite(str(folder / f"{number:05d}.tif"), pixels, [cv2.IMWRITE_TIFF_COMPRESSION, 1])


def _pack(folder: Path, archive: Path) -> None:
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, arcname="slices")


def _write_series(folder: Path) -> None:
    """Write a series with a ball of lesion in its middle."""
    spacing_mm, shape = (0.4, 0.7, 0.7), (N_SLICES, SLICE_PX, SLICE_PX)
    grid = grid_around(Truth(), shape, spacing_mm, np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])
    from_middle = np.ogrid[tuple(slice(-size // 2, size - size // 2) for size in shape)]
    squares = [(axis * spacing) ** 2 for axis, spacing in zip(from_middle, spacing_mm, strict=True)]
    voxels = np.where(sum(squares) < RADIUS_MM**2, LESION_HU, LUNG_HU).astype(np.int16)
    put_series(str(folder), to_dicom(voxels, grid))
