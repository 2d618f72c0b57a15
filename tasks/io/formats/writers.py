"""Registry of output formats of masks. A new one is a module with its `MaskWriter`, and a line in `WRITERS`."""

from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.volumes import Layout
from tasks.io.formats.dicom_seg import DICOM_SEG
from tasks.io.formats.format import MaskWriter
from tasks.io.formats.nifti import NIFTI_MASK
from tasks.io.formats.raster import PNG_MASK

WRITERS: dict[str, MaskWriter] = {
    found.name: found
    for found in (
        PNG_MASK,
        NIFTI_MASK,
        DICOM_SEG,
    )
}
"""Registry of output formats by name; the first one for a scan writes the mask that its row names."""


def writers_asked(asked: SegmentationConfig) -> tuple[MaskWriter, ...]:
    """Return the writers of a run: those that are always on, and those that its parameters switch on."""
    return tuple(found for found in WRITERS.values() if found.asked_by is None or getattr(asked, found.asked_by))


def writers_of(asked: SegmentationConfig, layout: Layout) -> tuple[MaskWriter, ...]:
    """Return the writers of a run for a scan; the first one writes the mask that its row names."""
    return tuple(found for found in writers_asked(asked) if layout in found.layouts)
