"""A run without a network: a stand-in that sees what is bright, taken through the real stages in this process."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tasks.core.config.intensity import HuConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.errors import DataError
from tasks.core.model_input import ModelInput
from tasks.core.rows import ScanRow
from tasks.core.step_inputs import SegmentRequest
from tasks.engine.steps.listing import list_scans
from tasks.engine.steps.plan import index_here
from tasks.io.scan_index import ContainerIndex, write_index
from tasks.io.scan_sources import Container, ScanSource
from tasks.io.sealed_file import SealedFile
from tasks.stages.chunk import Predicted
from tasks.stages.finish_scans import finish_scans
from tasks.stages.load_scans import cut, load_scans
from tasks.stages.segmentation_run import Run

SIZE_PX = 128


def bright_run(scans_uri: str, output_uri: str, **asked: object) -> Run:
    """Return a run of a model that sees the lesion by its brightness."""
    request = SegmentRequest(
        model_uri="",
        scans_uri=scans_uri,
        output_uri=output_uri,
        segmentation=SegmentationConfig.model_validate(asked),
        run_id="run",
    )
    return Run(
        request,
        threshold=0.5,
        min_lesion_px=0,
        min_lesion_mm3=request.segmentation.min_lesion_mm3,
        model_input=ModelInput(SIZE_PX, HuConfig(), "slice_8bit"),
        model_digest="",
        code_version="",
    )


def see_bright(images: np.ndarray) -> np.ndarray:
    """Return full probability where a slice is brighter than half-way between lung and lesion."""
    return np.where(images > 150, 255, 0).astype(np.uint8)


def scans_of(run: Run) -> list[ScanSource]:
    """Return the scans below the run's URI, opened here; their indexes are kept as on a cluster."""
    return list_scans(run.request, open_and_keep, math.inf, None).scans()


def open_and_keep(containers: Sequence[Container], kept: Sequence[SealedFile]) -> list[ContainerIndex]:
    """Open containers here, and keep their indexes."""
    found = index_here(containers, kept)
    for file, index in zip(kept, found, strict=True):
        write_index(file, index)
    return found


def segment(run: Run, scans: Sequence[ScanSource]) -> Iterator[ScanRow]:
    """Yield the rows of scans, each taken through loading, seeing and finishing as in a run."""
    for scan in scans:
        if scan.refused:
            yield run.record(run.refusal(scan, DataError(*scan.refused)))
            continue
        chunks = [load_scans([piece], run.model_input) for piece in cut(scan)]
        rows, _ = finish_scans([Predicted(c.images, c.rest, see_bright(c.images)) for c in chunks], run=run)
        yield from rows
