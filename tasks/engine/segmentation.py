"""What is done with scans: read and bring to the model's size; then back to their own, cut off, written, recorded."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tasks.core.errors import DataError, StorageError
from tasks.core.geometry import resize_slice, restore_probability
from tasks.core.intensity import slice_to_uint8
from tasks.core.panels import PALETTE, overlay
from tasks.core.postprocess import drop_small_lesions, threshold_probability
from tasks.core.records import ModelCard, ScanRow, ScanStatus
from tasks.core.requests import SegmentRequest
from tasks.engine.stream import Loaded
from tasks.io import ledger, storage
from tasks.io.formats import read_image
from tasks.io.formats.raster import write_mask_png, write_png
from tasks.io.scans import ScanSource
from tasks.io.versions import code_version


@dataclass(frozen=True, slots=True)
class Run:
    """A segmentation run: what it was asked, and what decides its masks."""

    request: SegmentRequest
    threshold: float
    min_lesion_px: int
    size_px: int
    model_digest: str
    code_version: str

    @classmethod
    def of(cls, request: SegmentRequest, card: ModelCard) -> "Run":
        """Return the run of a request: the bundle's operating point, unless the request has its own."""
        asked = request.segmentation
        return cls(
            request,
            threshold=card.threshold if asked.threshold is None else asked.threshold,
            min_lesion_px=card.min_lesion_px if asked.min_lesion_px is None else asked.min_lesion_px,
            size_px=card.input_size_px,
            model_digest=card.digest,
            code_version=code_version(),
        )

    @property
    def params_digest(self) -> str:
        """sha256 over the parameters that decide a mask."""
        decisive = f"{self.threshold}:{self.min_lesion_px}:{self.request.segmentation.precision}"
        return hashlib.sha256(decisive.encode()).hexdigest()

    def row(self, scan: ScanSource, status: ScanStatus, **found: Any) -> ScanRow:  # Any: further fields of ScanRow
        """Return the row of a scan in this run."""
        return ScanRow(
            scan_id=scan.scan_id,
            source_uri=scan.uri,
            source_fingerprint=scan.fingerprint,
            status=status,
            model_digest=self.model_digest,
            params_digest=self.params_digest,
            code_version=self.code_version,
            **found,
        )

    def record(self, row: ScanRow) -> ScanRow:
        """Write a row to the ledger; its mask must be published before."""
        ledger.record(self.request.output_uri, row, self.request.run_id)
        return row

    def recall(self, scans: Sequence[ScanSource]) -> dict[int, ScanRow]:
        """Return the rows of scans this run already recorded, by place: a worker may have died just after."""
        ids = [scan.scan_id for scan in scans]
        found = ledger.recorded(self.request.output_uri, self.request.run_id, ids)
        return {place: found[scan_id] for place, scan_id in enumerate(ids) if scan_id in found}

    def give_up(self, scan: ScanSource) -> ScanRow:
        """Set a scan aside that no worker survives."""
        return self.record(
            self.row(
                scan,
                "failed",
                error_code="worker_died",
                error="The worker process died over this scan again and again, alone. Look at its size and its format.",
            )
        )


@dataclass(frozen=True, slots=True)
class LoadedScan:
    """A scan between the stages.

    Attributes:
        source: Where it is from.
        image: On its own grid, uint8 `(H, W)`; None where it was set aside.
        refused: Why it was set aside.
        seconds: Spent on it so far.
    """

    source: ScanSource
    image: np.ndarray | None
    refused: DataError | None
    seconds: float


def load_scans(scans: Sequence[ScanSource], *, size_px: int) -> Loaded:
    """Read, decode and resize scans; one that is bad brings no slice.

    Returns:
        Slices uint8 `(N, size_px, size_px)` in the order of the scans that have one; as the rest, every scan.
    """
    started = time.perf_counter()
    contents = storage.map_in_parallel(_read, scans)
    share_s = (time.perf_counter() - started) / max(len(scans), 1)
    loaded = [_decode(scan, content, share_s) for scan, content in zip(scans, contents, strict=True)]
    images = [resize_slice(scan.image, size_px) for scan in loaded if scan.image is not None]
    n_read = sum(len(content) for content in contents if isinstance(content, bytes))
    n_held = sum(scan.image.nbytes for scan in loaded if scan.image is not None)
    slices = np.stack(images) if images else np.empty((0, size_px, size_px), np.uint8)
    return Loaded(slices, loaded, n_held=n_held, n_read=n_read)


def finish_scans(loaded: Sequence[LoadedScan], probability: np.ndarray, *, run: Run) -> tuple[list[ScanRow], int]:
    """Bring probabilities back to each scan's grid, write mask and preview, then record the scan.

    Args:
        loaded: Every scan of the chunk.
        probability: uint8 `(N, size_px, size_px)`, of those that have an image, in their order.
        run: What decides the masks.

    Returns:
        A row a scan, and the bytes written.
    """
    answers = iter(probability)
    # drawn one by one, because threads would only fight over the interpreter; written several at a time
    drawn = [_draw(scan, None if scan.image is None else next(answers), run=run) for scan in loaded]
    rows = storage.map_in_parallel(partial(_publish, run=run), drawn)
    return rows, sum(outcome.n_bytes for outcome in drawn)


def _read(scan: ScanSource) -> bytes | DataError:
    try:
        return storage.read_bytes(scan.uri, size_bytes=scan.size_bytes)
    except StorageError as err:
        if err.can_pass:
            code, todo = "not_read", "The next run tries again."
        else:
            code, todo = "vanished", "It was listed at the start of this run; check who moves or locks it."
        reason = type(err.__cause__ or err).__name__  # its text may hold the name of the file
        return DataError(code, f"The scan could not be read ({reason}). {todo}")


def _decode(scan: ScanSource, content: bytes | DataError, seconds: float) -> LoadedScan:
    started = time.perf_counter()
    try:
        if isinstance(content, DataError):
            raise content
        image = slice_to_uint8(read_image(scan.uri, content))
    except DataError as err:
        return LoadedScan(scan, None, err, seconds)
    return LoadedScan(scan, image, None, seconds + time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a scan, before it is written: the row, and the files by URI, the mask last."""

    row: ScanRow
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        return sum(map(len, self.files.values()))


def _draw(scan: LoadedScan, probability: np.ndarray | None, *, run: Run) -> _Outcome:
    if scan.image is None or probability is None:
        refused = scan.refused or DataError("unreadable", "The scan has no slice.")
        return _Outcome(run.row(scan.source, "failed", error_code=refused.code, error=refused.sentence))
    started = time.perf_counter()
    shape = (scan.image.shape[0], scan.image.shape[1])
    above = threshold_probability(restore_probability(probability, shape), run.threshold)
    mask, n_lesions = drop_small_lesions(above, run.min_lesion_px)
    output_uri, name = run.request.output_uri, f"{scan.source.scan_id}.png"
    mask_uri, mask_png = storage.join(output_uri, "masks", name), write_mask_png(mask)
    preview_png = write_png(overlay(scan.image, prediction=mask), PALETTE)
    row = run.row(
        scan.source,
        "done",
        flags=[] if n_lesions else ["no_lesion"],
        n_slices=1,
        lesion_voxels=int(mask.sum()),
        n_lesions=n_lesions,
        mask_sha256=hashlib.sha256(mask_png).hexdigest(),
        mask_uri=mask_uri,
        seconds=round(scan.seconds + time.perf_counter() - started, 4),
    )
    return _Outcome(row, {storage.join(output_uri, "previews", name): preview_png, mask_uri: mask_png})


def _publish(outcome: _Outcome, *, run: Run) -> ScanRow:
    for uri, content in outcome.files.items():
        storage.publish(uri, content)
    return run.record(outcome.row)
