"""Segment every scan below a URI: decode on CPUs, predict on an actor, restore and write on CPUs."""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from heapq import nlargest
from typing import Any, get_args

import numpy as np
import ray.data

from tasks.core.errors import DataError
from tasks.core.geometry import resize_slice, restore_probability
from tasks.core.intensity import slice_to_uint8
from tasks.core.panels import overlay
from tasks.core.postprocess import drop_small_lesions, threshold_probability
from tasks.core.records import ModelCard, ScanRow, ScanStatus, SegmentationManifest, SegmentationRef
from tasks.core.reports import segmentation_report
from tasks.core.requests import SegmentRequest
from tasks.engine.actors import predict_slices
from tasks.io import bundles, ledger, storage
from tasks.io.formats import read_image
from tasks.io.formats.raster import write_mask_png, write_png
from tasks.io.scans import ScanSource, list_scans
from tasks.io.tables import to_parquet
from tasks.io.versions import code_version, library_versions

logger = logging.getLogger(__name__)

SCANS_FILE, REPORT_FILE, MANIFEST_FILE = "scans.parquet", "report.html", "manifest.json"
N_PREVIEWS = 12

Row = dict[str, Any]  # Any: pixels, ids and numbers of a Ray row


def segment(request: SegmentRequest) -> SegmentationRef:
    """Segment what is new, publish table, report and manifest, and count what happened.

    Raises:
        ModelError: If the bundle is missing, damaged or fails its self-test.
        StorageError: If scans cannot be listed or outputs not written.
    """
    started = time.monotonic()
    run = Run.of(request, bundles.read_card(request.model_uri))
    scans = list_scans(request.scans_uri)
    settled = _settle(scans, run)
    new = _work_through([scan for scan in scans if scan.scan_id not in settled], run)
    rows = sorted([*settled.values(), *new], key=lambda row: row.scan_id)
    manifest = run.manifest(rows, n_new_failures=_count(new)["failed"], seconds=time.monotonic() - started)
    _publish(manifest, rows, request.output_uri)
    logger.info("segment: %s, %.0f s", manifest.counts, manifest.seconds)
    return SegmentationRef(
        uri=request.output_uri,
        fingerprint=manifest.model_digest,
        counts=manifest.counts,
        n_new_failures=manifest.n_new_failures,
    )


@dataclass(frozen=True, slots=True)
class Run:
    """A segmentation run: what it was asked, and what decides its masks."""

    request: SegmentRequest
    threshold: float
    min_lesion_px: int
    size_px: int
    model_digest: str
    code_version: str
    warnings: tuple[str, ...]

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
            warnings=card.warnings,
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

    def manifest(self, rows: Sequence[ScanRow], *, n_new_failures: int, seconds: float) -> SegmentationManifest:
        """Return the manifest of the finished run."""
        return SegmentationManifest(
            run_id=self.request.run_id,
            scans_uri=self.request.scans_uri,
            model_uri=self.request.model_uri,
            model_digest=self.model_digest,
            params_digest=self.params_digest,
            segmentation=self.request.segmentation,
            threshold=self.threshold,
            min_lesion_px=self.min_lesion_px,
            counts=_count(rows),
            n_new_failures=n_new_failures,
            seconds=round(seconds, 2),
            code_version=self.code_version,
            versions=library_versions(),
            warnings=self.warnings,
        )


def _settle(scans: Sequence[ScanSource], run: Run) -> dict[str, ScanRow]:
    """Return the rows of scans that need no work in this run: finished, known bad, or too young."""
    entries = ledger.Ledger.open(run.request.output_uri)
    finished, known_bad = entries.finished(), entries.known_bad()
    asked = run.request.segmentation
    youngest_s = time.time() - asked.settle_minutes * 60
    settled: dict[str, ScanRow] = {}
    for scan in scans:
        entry = finished.get(ledger.work_key(run.row(scan, "done")))
        bad = known_bad.get((scan.scan_id, scan.fingerprint))
        if scan.modified_s is not None and scan.modified_s > youngest_s:
            settled[scan.scan_id] = run.row(scan, "deferred")
        elif asked.force:
            continue
        elif entry is not None and ledger.is_mask_intact(entry):
            settled[scan.scan_id] = ScanRow.model_validate(entry.model_dump() | {"status": "skipped"})
        elif bad is not None:
            settled[scan.scan_id] = run.row(scan, "failed", error_code=bad.error_code, error=bad.error)
    return settled


def _work_through(scans: Sequence[ScanSource], run: Run) -> list[ScanRow]:
    """Decode, predict and write scans; return a row each, in any order."""
    if not scans:
        return []
    rows = ray.data.from_items([asdict(scan) for scan in scans], override_num_blocks=min(len(scans), 200))
    decoded = rows.map(_decode, fn_kwargs={"size_px": run.size_px})
    predicted = predict_slices(decoded, model_uri=run.request.model_uri, precision=run.request.segmentation.precision)
    written = predicted.map(_finish, fn_kwargs={"run": run})
    return [ScanRow.model_validate_json(row["row"]) for row in written.iter_rows()]


def _decode(scan: Row, *, size_px: int) -> Row:
    """Return the scan with its content and its image at the model's size; a bad one with an error and a black image."""
    started = time.monotonic()
    image, error_code, error, content = np.zeros((size_px, size_px), np.uint8), None, None, b""
    try:
        content = storage.read_bytes(scan["uri"])
        image = resize_slice(slice_to_uint8(read_image(scan["uri"], content)), size_px)
    except DataError as err:
        error_code, error = err.code, err.sentence
    return scan | {
        "image": image,
        "content": content,
        "error_code": error_code,
        "error": error,
        "decode_seconds": time.monotonic() - started,
    }


def _finish(scan: Row, *, run: Run) -> Row:
    """Write mask and preview of a scan, then its ledger entry; return its row as JSON."""
    started = time.monotonic()
    source = ScanSource(scan["scan_id"], scan["uri"], scan["fingerprint"], scan["modified_s"])
    if scan["error_code"]:
        row = run.row(source, "failed", error_code=scan["error_code"], error=scan["error"])
    else:
        found = _write_outputs(source, scan, run)
        seconds = round(scan["decode_seconds"] + time.monotonic() - started, 4)
        row = run.row(source, "done", seconds=seconds, **found)
    ledger.record(run.request.output_uri, row, run.request.run_id)
    return {"row": row.model_dump_json()}


def _write_outputs(source: ScanSource, scan: Row, run: Run) -> Row:
    """Publish mask and preview; return what the scan's row says of them."""
    image = slice_to_uint8(read_image(source.uri, scan["content"]))
    probability = restore_probability(scan["probability"], (image.shape[0], image.shape[1]))
    mask, n_lesions = drop_small_lesions(threshold_probability(probability, run.threshold), run.min_lesion_px)
    output_uri = run.request.output_uri
    mask_uri = storage.join(output_uri, "masks", f"{source.scan_id}.png")
    preview = write_png(overlay(image, prediction=mask))
    storage.publish(storage.join(output_uri, "previews", f"{source.scan_id}.png"), preview)
    return {
        "flags": [] if n_lesions else ["no_lesion"],
        "n_slices": 1,
        "lesion_voxels": int(mask.sum()),
        "n_lesions": n_lesions,
        "mask_sha256": storage.publish(mask_uri, write_mask_png(mask)),
        "mask_uri": mask_uri,
    }


def _count(rows: Sequence[ScanRow]) -> dict[ScanStatus, int]:
    found = Counter(row.status for row in rows)
    return {status: found[status] for status in get_args(ScanStatus)}


def _publish(manifest: SegmentationManifest, rows: Sequence[ScanRow], output_uri: str) -> None:
    """Publish table and report, then the manifest."""
    with_lesion = [row for row in rows if row.lesion_voxels]
    shown = nlargest(N_PREVIEWS, with_lesion, key=lambda row: row.lesion_voxels or 0)
    previews = storage.read_all([storage.join(output_uri, "previews", f"{row.scan_id}.png") for row in shown])
    page = segmentation_report(manifest, rows, previews=list(zip(shown, previews, strict=True)))
    storage.publish(storage.join(output_uri, SCANS_FILE), to_parquet(ScanRow, rows))
    storage.publish(storage.join(output_uri, REPORT_FILE), page.encode())
    storage.publish(storage.join(output_uri, MANIFEST_FILE), manifest.model_dump_json(indent=2).encode())
