"""Facts about a segmented scan that its quality flags are judged by."""

import numpy as np

from tasks.core.flags import ScanFacts
from tasks.core.quality import Quality
from tasks.io.formats import layout_of
from tasks.stages.load_scans import LoadedScan
from tasks.stages.lung_measures import LungMeasures

MIN_SLICES = 8
"""Slices from which a scan counts as a volume of the lung: fewer may show any part of it."""
MIN_LESION_VOXELS = 20
"""Lesion voxels from which their place is judged."""


def facts_of(
    scan: LoadedScan,
    mask: np.ndarray,
    n_lesions: int,
    *,
    lung: LungMeasures,
    drift: float | None,
    quality: Quality | None,
    peak: float | None = None,
) -> ScanFacts:
    """Return the facts about a scan.

    Args:
        scan: The scan, as loaded.
        mask: Its mask, uint8 of 0 and 1, `(N, H, W)`.
        n_lesions: Lesions of the mask.
        lung: Measures of its lung.
        drift: Its drift score.
        quality: Expected quality of its mask.
        peak: Largest probability of lesion in it.
    """
    grid, n_voxels = scan.grid, int(np.count_nonzero(mask))
    is_volume = layout_of(scan.source.kind) != "slice" and len(mask) >= MIN_SLICES
    voxel_mm3 = grid.voxel_mm3 if grid and scan.has_volume else None
    spacing_mm = grid.as_read().spacing_mm if grid else None
    outside = None
    if lung.n_voxels and lung.n_lesion is not None and n_voxels >= MIN_LESION_VOXELS:
        outside = 1 - lung.n_lesion / n_voxels
    return ScanFacts(
        n_lesions=n_lesions,
        lesion_voxels=n_voxels,
        lesion_ml=None if voxel_mm3 is None else n_voxels * voxel_mm3 / 1000,
        lung_like_share=scan.lung_like[0] / scan.lung_like[1] if scan.lung_like and scan.lung_like[1] else None,
        drift=drift,
        quality=quality.expected if quality is not None and n_lesions else None,
        faint=None if n_lesions else peak,
        lung_share=lung.n_voxels / mask.size if is_volume and lung.n_voxels is not None else None,
        lung_ml=lung.volume_ml(voxel_mm3) if is_volume and lung.n_voxels else None,
        outside_lung=outside,
        involvement=lung.involvement if is_volume else None,
        end_share=lung.end_share if is_volume else None,
        border_share=lung.border_share,
        missing_share=len(scan.missing) / len(mask) if scan.missing else None,
        step_mm=spacing_mm[0] if spacing_mm and is_volume else None,
        width_mm=spacing_mm[2] * mask.shape[2] if spacing_mm and is_volume and lung.n_voxels else None,
        n_warnings=len(scan.warnings),
    )
