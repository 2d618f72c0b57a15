"""Encoding of a scan's mask in every output format that is switched on and suits the scan."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from tasks.core.errors import StorageError, as_refusal
from tasks.io import storage
from tasks.io.formats import axis_order_of, layout_of
from tasks.io.formats.format import DicomHeads, MaskWriter, ScanMask
from tasks.io.formats.writers import writers_of
from tasks.io.outputs import segmentations
from tasks.io.scan_sources import ScanSource
from tasks.io.scans import entry_of
from tasks.stages.load_scans import LoadedScan
from tasks.stages.segmentation_run import Run

NOT_MADE: Final = "Not made:"
"""Beginning of the warning about a format in which a mask was asked for and is not."""


@dataclass(frozen=True, slots=True)
class EncodedMasks:
    """Mask of a scan as files of every output format.

    Attributes:
        mask_uri: URI of the mask that the row names.
        files: Content by URI, that mask last.
        warnings: Sentences about formats in which it could not be written.
        where: Traceback of a bug in one of the writers.
    """

    mask_uri: str
    files: dict[str, bytes]
    warnings: list[str]
    where: str | None


def encode_masks(voxels: np.ndarray, scan: LoadedScan, run: Run) -> EncodedMasks:
    """Return a mask in every format; an error in the first format rejects the scan, in others it is a warning."""
    mask = _scan_mask(voxels, scan, run)
    first, *others = writers_of(run.request.segmentation, layout_of(scan.source.kind))
    files: dict[str, bytes] = {}
    warnings, where = [], None
    for writer in others:
        try:
            files[_uri(writer, scan, run)] = writer.write(mask)
        except Exception as err:  # noqa: BLE001 - the boundary of one scan; its mask is there all the same
            refusal = err.as_refusal() if isinstance(err, StorageError) else as_refusal(err)
            warnings.append(f"{NOT_MADE} {writer.shown}: {refusal.sentence}")
            where = where or refusal.where
    mask_uri = _uri(first, scan, run)
    files[mask_uri] = first.write(mask)
    return EncodedMasks(mask_uri, files, [*warnings, *mask.warnings], where)


def _uri(writer: MaskWriter, scan: LoadedScan, run: Run) -> str:
    return segmentations.mask_uri(run.request.output_uri, scan.source.scan_id, writer.suffix)


def _scan_mask(voxels: np.ndarray, scan: LoadedScan, run: Run) -> ScanMask:
    """Return the input of the writers; headers of the source are read again only if a writer needs them."""
    return ScanMask(
        voxels,
        scan.grid,
        axis_order_of(scan.source.kind),
        read_heads=partial(read_heads, scan.source),
        forms=scan.forms,
        orientation=scan.orientation,
        model_digest=run.model_digest,
        code_version=run.code_version,
    )


def read_heads(source: ScanSource) -> DicomHeads:
    """Return the headers of a DICOM series, read again."""
    index, entry = entry_of(source)
    missing = set(entry.missing)
    held = [place for place in range(len(entry.frames)) if place not in missing]
    if len(entry.files) == 1:
        heads, frames = [index.read_head(entry.files[0])], [entry.frames[place] for place in held]
    else:
        files = [entry.files[entry.file_indices[place]] for place in held]
        heads, frames = storage.map_in_parallel(index.read_head, files), []
    return DicomHeads(heads, frames, entry.missing)
