"""Planted faults raise their own flag, clean phantoms none: from slices and outputs to flags."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.core.flags import FlagLimits, flags_of
from tasks.core.phantoms import phantom_scan
from tasks.core.postprocess import drop_small_lesions_3d
from tasks.core.quality import Quality
from tasks.core.volumes import Grid, count_lung_like
from tasks.io.scan_sources import ScanSource
from tasks.stages.chunk import Predicted
from tasks.stages.load_scans import LoadedScan
from tasks.stages.lung_measures import measure_lung
from tasks.stages.scan_facts import facts_of

SIZE_PX, N_SLICES = 64, 32
SPACING_MM = (8.0, 5.5, 5.5)
SOURCE = ScanSource(path="", identity="", uri="", fingerprint="", kind="nifti")


def _phantom(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a phantom whose lungs end inside it: image, lesions and lungs."""
    scan = phantom_scan(seed, n_slices=N_SLICES - 8, size_px=SIZE_PX)
    pad = ((4, 4), (0, 0), (0, 0))
    return tuple(np.pad(each, pad) for each in (scan.image, scan.mask, scan.lung))  # type: ignore[return-value]


def _flags(
    image: np.ndarray,
    mask: np.ndarray,
    lung: np.ndarray,
    *,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    drift: float | None = 0.5,
    quality: float = 0.8,
    peak: float = 0.0,
    **changes: object,
) -> list[str]:
    affine = np.diag([*spacing_mm, 1.0])[[2, 1, 0, 3]]
    hu = image.astype(np.float32) * (1150 / 150) - 1100
    scan = LoadedScan(SOURCE, grid=Grid(mask.shape, affine), lung_like=count_lung_like(hu))
    predicted = Predicted(image, None, 255 * mask, 255 * lung)
    measures = measure_lung(predicted, mask, np.ones(len(mask), bool))
    _, n_lesions = drop_small_lesions_3d(mask, 0)
    expected = Quality(quality, 0.0, 1.0)
    scan = replace(scan, **changes)
    facts = facts_of(scan, mask, n_lesions, lung=measures, drift=drift, quality=expected, peak=peak)
    return flags_of(facts, FlagLimits())


def test_clean_phantoms_raise_no_flag() -> None:
    """None of fifty."""
    assert [seed for seed in range(50) if _flags(*_phantom(seed))] == []


IMAGE, MASK, LUNG = _phantom(0)
NOTHING = np.zeros_like(MASK)


def _outside() -> np.ndarray:
    mask = NOTHING.copy()
    mask[10:20, 2:8, 28:36] = 1
    assert not (mask & LUNG).any()
    return mask


def _speckled() -> np.ndarray:
    mask = NOTHING.copy()
    mask[::2, ::3, ::3] = LUNG[::2, ::3, ::3]
    return mask


FAULTS = {
    "no_lesion": lambda: _flags(IMAGE, NOTHING, LUNG),
    "hu_implausible": lambda: _flags(np.full_like(IMAGE, 150), MASK, LUNG),
    "out_of_domain": lambda: _flags(IMAGE, MASK, LUNG, drift=2.0),
    "low_quality": lambda: _flags(IMAGE, MASK, LUNG, quality=0.2),
    "faint_lesion": lambda: _flags(IMAGE, NOTHING, LUNG, peak=0.3),
    "no_lung": lambda: _flags(IMAGE, MASK, NOTHING),
    "lung_small": lambda: _flags(IMAGE, MASK, LUNG, spacing_mm=(3.0, 3.2, 3.2)),
    "lung_large": lambda: _flags(IMAGE, MASK, LUNG, spacing_mm=(9.0, 12.0, 12.0)),
    "lesion_outside_lung": lambda: _flags(IMAGE, _outside(), LUNG),
    "involvement_implausible": lambda: _flags(IMAGE, LUNG, LUNG),
    "many_lesions": lambda: _flags(IMAGE, _speckled(), LUNG),
    "lung_cut_at_ends": lambda: _flags(IMAGE[16:], MASK[16:], LUNG[16:]),
    "lung_cut_at_border": lambda: _flags(IMAGE[:, 20:44], MASK[:, 20:44], LUNG[:, 20:44]),
    "slices_missing": lambda: _flags(IMAGE, MASK, LUNG, missing=(5,), has_volume=False),
    "slices_far_apart": lambda: _flags(IMAGE, MASK, LUNG, spacing_mm=(12.0, 5.0, 5.0)),
    "field_of_view_small": lambda: _flags(IMAGE, MASK, LUNG, spacing_mm=(9.9, 2.0, 2.0), has_volume=False),
    "reader_warning": lambda: _flags(IMAGE, MASK, LUNG, warnings=("1 localiser left out.",)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_raises_its_own_flag(name: str) -> None:
    """And next to no other: a lung that is cut may also be small."""
    found = FAULTS[name]()
    assert name in found
    assert set(found) - {name} <= {"lung_small", "no_lesion", "lung_cut_at_ends"}


def test_a_single_slice_is_not_judged_as_a_volume() -> None:
    """Where it lies in the chest is not known: without lung, or with much of it, nothing is said."""
    middle = N_SLICES // 2
    one = np.s_[middle : middle + 1]
    assert _flags(IMAGE[one], LUNG[one], LUNG[one]) == []
    assert _flags(IMAGE[one], NOTHING[one], NOTHING[one]) == ["no_lesion"]
