"""Random DICOM series with what befalls them on their way, and the arrangement that GDCM gives their slices."""

import copy
import random
from dataclasses import dataclass, field
from pathlib import Path

import gdcm
import numpy as np
import pytest
from pydicom.dataset import Dataset

from tasks.core.volumes import LPS_TO_RAS, Grid
from tasks.io import storage
from tasks.io.scan_containers import open_container
from tasks.io.scan_sources import Container
from tests.volumes import to_bytes, to_dicom

SHAPE = (8, 9)
STEPS_MM = (0.5, 0.625, 0.75, 1.0, 1.25, 2.0, 3.0, 5.0)
PHASE_TAGS = ("AcquisitionNumber", "TemporalPositionIdentifier", "ConvolutionKernel", "AcquisitionTime")


@dataclass(slots=True)
class Series:
    """Series and what is true of it.

    Attributes:
        slices: Its files, in no order.
        phases: Slices of each scan that it holds, in the order of their positions.
        step_mm: Distance of neighbouring places.
        missing: Places without a slice.
        refused: Code of its rejection, if it lies on no grid.
        n_left_out: Copies and strangers among its files.
    """

    slices: list[Dataset] = field(default_factory=list)
    phases: list[list[Dataset]] = field(default_factory=list)
    step_mm: float = 1.0
    missing: tuple[int, ...] = ()
    refused: str | None = None
    n_left_out: int = 0


def random_series(seed: int) -> Series:
    """Return a random series: rounded, with gaps, in phases, with copies and strangers, or on no grid."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    step, n = rng.choice(STEPS_MM), rng.randint(8, 40)
    made = Series(step_mm=step)
    if rng.random() < 0.3:
        made.missing = tuple(sorted(rng.sample(range(1, n - 1), rng.randint(1, n // 4))))
    shift = np.zeros((n, 3))
    if rng.random() < 0.25:
        made.refused, shift = _off_the_grid(rng, n, step)
        made.missing = ()
    n_phases, tag = (rng.randint(2, 3) if rng.random() < 0.25 and not made.refused else 1), rng.choice(PHASE_TAGS)
    decimals = rng.choice((1, 2, 6))
    directions = np.eye(3)[:, [2, 1, 0]] * [1, -1, -1]
    affine = np.eye(4)
    affine[:3, :3] = directions * [step, 0.7, 0.7]
    affine[:3, 3] = [rng.uniform(-200, 200) for _ in range(3)]
    voxels = np.random.default_rng(seed).integers(-1000, 500, (n_phases, n, *SHAPE))
    for phase in range(n_phases):
        slices = to_dicom(voxels[phase], Grid((n, *SHAPE), affine))
        for number, dataset in enumerate(slices):
            moved = np.array([float(value) for value in dataset.ImagePositionPatient]) + shift[number]
            dataset.ImagePositionPatient = [round(float(value), decimals) for value in moved]
            dataset.SOPInstanceUID = f"1.2.826.0.1.{seed}.{phase}.{number}"
            if n_phases > 1:
                setattr(dataset, tag, f"10101{phase + 1}")
        made.phases.append([dataset for number, dataset in enumerate(slices) if number not in made.missing])
    made.slices = [dataset for phase in made.phases for dataset in phase]
    _add_what_is_left_out(rng, made)
    rng.shuffle(made.slices)
    return made


def _add_what_is_left_out(rng: random.Random, made: Series) -> None:
    """Add copies and a stranger, and take away what the instance UIDs tell."""
    if rng.random() < 0.3:
        copies = [copy.deepcopy(dataset) for dataset in rng.sample(made.slices, rng.randint(1, 3))]
        made.slices += copies
        made.n_left_out += len(copies)
    if rng.random() < 0.3:
        made.slices.append(_stranger(rng, made.slices[0]))
        made.n_left_out += 1
    if rng.random() < 0.3:
        uid = rng.choice(("1.2.3", ""))
        for dataset in made.slices:
            dataset.SOPInstanceUID = uid


def _off_the_grid(rng: random.Random, n: int, step: float) -> tuple[str, np.ndarray]:
    """Return why a series lies on no grid, and how far each slice is moved, mm."""
    shift = np.zeros((n, 3))
    worst = rng.randint(2, n - 3)
    kind = rng.choice(("one off", "drift", "beside", "tilt"))
    if kind == "one off":
        shift[worst, 2] = max(0.4 * step, 0.35)
        return ("duplicate_position" if abs(shift[worst, 2] - step) < 1e-3 else "unequal_spacing"), shift
    if kind == "drift":
        shift[worst:, 2] = np.cumsum(np.full(n - worst, max(0.3 * step, 0.35)))
        return "unequal_spacing", shift
    if kind == "beside":
        shift[worst:, 0] = 5 + 2 * step
        return "shifted_slices", shift
    shift[:, 1] = 0.3 * step * np.arange(n)
    return "gantry_tilt", shift


def _stranger(rng: random.Random, like: Dataset) -> Dataset:
    dataset = copy.deepcopy(like)
    dataset.SOPInstanceUID = "1.2.3.4.5"
    kind = rng.choice(("localiser", "size", "turned", "report"))
    if kind == "localiser":
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    elif kind == "size":
        dataset.Rows, dataset.PixelData = 4, dataset.PixelData[: 4 * SHAPE[1] * 2]
    elif kind == "turned":
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    else:
        dataset.Modality, dataset.SOPClassUID = "SR", "1.2.840.10008.5.1.4.1.1.88.67"
    return dataset


def check_against_gdcm(seed: int, folder: Path) -> None:
    """Compare the scans of a random series, over one or several folders, with GDCM's arrangement of each."""
    made, rng = random_series(seed), random.Random(seed)  # noqa: S311 - no secret
    n_folders = 1 if made.refused else rng.choice((1, 1, 2, 5))  # in folders, each part is judged by itself
    name_of: dict[int, str] = {}
    for number, dataset in enumerate(made.slices):
        path = folder / f"{number % n_folders}" / f"{number:03d}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(to_bytes(dataset))
        name_of[id(dataset)] = str(path)
    index = open_container(Container("", tuple(storage.list_objects(str(folder)))), "memory://series.gzidx")
    if made.refused:
        assert {entry.error_code for entry in index.entries} - {"not_ct"} == {made.refused}, seed
        return
    scans = [entry for entry in index.entries if entry.error_code is None]
    assert len(scans) == len(made.phases), (seed, [entry.error for entry in index.entries])
    for slices in made.phases:
        expected = _arranged_by_gdcm([name_of[id(dataset)] for dataset in slices])
        positions = [_position(name) for name in expected]
        [scan] = [
            entry
            for entry in scans
            if {file.uri.removeprefix("file://") for file in entry.files} & set(expected)
            and len(entry.frames) - len(entry.missing) == len(expected)
        ][:1] or scans[:1]
        held = [place for place in range(len(scan.frames)) if place not in scan.missing]
        found = [_position(scan.files[scan.file_indices[place]].uri.removeprefix("file://")) for place in held]
        assert found == positions, seed
        assert scan.missing == made.missing, seed
        grid = scan.grid
        assert grid is not None
        on_grid = [(LPS_TO_RAS @ grid.affine @ [place, 0, 0, 1])[2] for place in held]
        np.testing.assert_allclose(on_grid, [z for *_, z in positions], atol=max(0.1, 0.1 * made.step_mm) + 1e-6)
    said = [warning for scan in scans for warning in scan.warnings if "left out" in warning]
    n_said = sum(int(warning.split()[0]) for warning in said)
    assert n_said == made.n_left_out or n_folders > 1, (seed, [scan.warnings for scan in scans])


def _position(path: str) -> tuple[float, float, float]:
    reader = gdcm.ImageReader()
    reader.SetFileName(path)
    assert reader.Read()
    x, y, z = reader.GetImage().GetOrigin()
    return round(x, 6), round(y, 6), round(z, 6)


def _arranged_by_gdcm(names: list[str]) -> list[str]:
    """Return files in the order of GDCM's IPPSorter, from feet to head."""
    sorter = gdcm.IPPSorter()
    sorter.SetComputeZSpacing(False)
    if not sorter.Sort(names):
        pytest.fail("GDCM does not arrange the slices")
    found = list(sorter.GetFilenames())
    return found if _position(found[0])[2] < _position(found[-1])[2] else found[::-1]
