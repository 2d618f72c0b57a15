"""Step review: verdicts and corrections are taken in, scans to correct are packaged; in this process, without Ray."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from hashlib import sha256
from math import inf

from tasks.core.addresses import shown_uri
from tasks.core.collection_summary import needs_review
from tasks.core.errors import ConfigError, StorageError
from tasks.core.handles import ReviewHandle
from tasks.core.review_queue import ranked
from tasks.core.rows import CorrectionRow, PackageRow, ScanRow, VerdictRow
from tasks.core.schemas import SegmentationManifest
from tasks.core.step_inputs import SegmentRequest
from tasks.core.verdict_agreement import agreement_by_week, agreement_csv
from tasks.core.verdicts import read_verdicts, verdicts_on
from tasks.engine.steps.listing import list_scans
from tasks.io import output_lock, storage
from tasks.io.formats.dicom_seg import SegmentationType
from tasks.io.outputs import reviews, segmentations
from tasks.io.outputs.reviews import Tables
from tasks.io.pseudonyms import Seal
from tasks.io.scan_index import MAX_FILE_BYTES, ContainerIndex
from tasks.io.scan_sources import Container, ScanSource
from tasks.io.sealed_file import SealedFile
from tasks.io.stored_objects import StoredObject
from tasks.stages.review_packages import make_package, package_digest
from tasks.stages.review_viewer import draw_viewer
from tasks.stages.take_corrections import Segmented, scan_id_of, take_correction

logger = logging.getLogger(__name__)


ListSources = Callable[[], dict[str, ScanSource]]
"""Function that returns the scans of a segmentation as they are listed now, by id; cached."""


def review(output_uri: str, *, n_scans: int, kind: SegmentationType = "BINARY") -> ReviewHandle:
    """Take in verdicts and corrections of a segmentation, package the scans to correct, and publish the tables.

    Args:
        output_uri: URI of the segmentation.
        n_scans: Number of the most urgent scans that are packaged as long as there are no verdicts.
        kind: Type of the DICOM-SEG in the packages of series.

    Raises:
        ConfigError: If there is no finished segmentation, its ids are hashed and the key is missing, or a table is
            damaged.
        LockedError: If another review of it runs.
        StorageError: If scans cannot be listed, or the store does not answer.
    """
    manifest = segmentations.find_manifest(output_uri)
    if manifest is None:
        raise ConfigError(
            f"{shown_uri(output_uri)} holds no {segmentations.MANIFEST_FILE}, so no finished segmentation. Run "
            "`lesions segment` first."
        )
    now = datetime.now(UTC)
    seal = Seal.from_environment() if manifest.segmentation.hash_ids else None
    sources = cache(partial(_list_sources, output_uri, manifest, seal))
    with output_lock.held(reviews.folder_uri(output_uri), f"review-{now:%Y%m%dT%H%M%S%f}Z") as lock:
        queue = ranked(segmentations.read_rows(output_uri))
        of = Segmented(output_uri, {row.scan_id: row for row in queue}, {}, seal, now)
        earlier = reviews.read_tables(output_uri)
        verdicts = _take_verdicts(of, earlier.verdicts)
        corrections = _take_corrections(of, sources, earlier.corrections)
        due = _due(queue, verdicts, corrections, n_scans=n_scans)
        packages = _make_packages(due, of, sources, earlier.packages, kind)
        lock.check()
        tables = Tables(verdicts, packages, corrections)
        viewer = _draw_viewer(of, manifest, due, tables, kind)
        weeks = agreement_by_week(verdicts, corrections)
        reviews.publish(output_uri, tables, agreement=agreement_csv(weeks), viewer=viewer)
    handle = _handle(output_uri, tables, earlier, due={row.scan_id for row in due})
    logger.info("review: %s", handle.sentence())
    return handle


def _list_sources(output_uri: str, manifest: SegmentationManifest, seal: Seal | None) -> dict[str, ScanSource]:
    """Return the scans below the segmentation's address by id; of containers those with a stored index."""
    request = SegmentRequest(
        model_uri=manifest.model_uri,
        scans_uri=manifest.scans_uri,
        output_uri=output_uri,
        segmentation=manifest.segmentation,
        run_id=manifest.run_id,
    )
    return {scan.scan_id: scan for scan in list_scans(request, _unopened, inf, seal).scans(seal)}


def _unopened(containers: Sequence[Container], kept: Sequence[SealedFile]) -> list[ContainerIndex]:
    """Return empty indexes: what is new since the segmentation has no mask."""
    del kept
    return [ContainerIndex(entries=()) for _ in containers]


def _take_verdicts(of: Segmented, earlier: Sequence[VerdictRow]) -> list[VerdictRow]:
    content = reviews.find_verdicts(of.output_uri)
    if content is None:
        return [row for row in earlier if row.status == "accepted"]
    return read_verdicts(content, masks=_masks(of.rows.values()), earlier=earlier, now=of.now)


def _masks(rows: Iterable[ScanRow]) -> dict[str, str]:
    return {row.scan_id: row.mask_sha256 for row in rows if row.mask_sha256}


def _take_corrections(of: Segmented, sources: ListSources, earlier: Sequence[CorrectionRow]) -> list[CorrectionRow]:
    """Return the rows of the corrections that lie there; one that was accepted before is not checked again."""
    files = reviews.list_corrections(of.output_uri)
    known = {(row.scan_id, row.sha256): row for row in earlier if row.status == "accepted"}
    ids = {*of.rows, *(scan_id for scan_id, _ in known)}
    claims = Counter(scan_id_of(file, ids) for file in files)
    first = {(row.scan_id, row.sha256): row.taken_at for row in earlier}
    rows = []
    for file in files:
        scan_id = scan_id_of(file, ids)
        content = _content(file)
        row = _find_known(known, scan_id, content, of) if claims[scan_id] == 1 else None
        if row is None:
            here = replace(of, sources=sources() if scan_id in of.rows else {})
            row = take_correction(file, content, here, n_rivals=claims[scan_id] - 1)
            row = row.model_copy(update={"taken_at": first.get((row.scan_id, row.sha256), row.taken_at)})
            _log_refusal("correction", row)
        rows.append(row)
    return rows


def _content(file: StoredObject) -> bytes:
    """Return the content of a correction; nothing of a link out of the folder, or of what cannot be read."""
    if file.is_elsewhere or file.size_bytes > MAX_FILE_BYTES:
        return b""
    try:
        return storage.read_bytes(file.uri)
    except StorageError as err:
        if err.can_pass:
            raise
        return b""


def _find_known(
    known: Mapping[tuple[str, str], CorrectionRow], scan_id: str, content: bytes, of: Segmented
) -> CorrectionRow | None:
    """Return the row of a correction that an earlier review accepted and whose label is as it was accepted.

    A scan that a later run rejected, or that is gone, has no mask any more; its correction stays as it was accepted.
    """
    row, segmented = known.get((scan_id, sha256(content).hexdigest())), of.rows.get(scan_id)
    if row is None or (segmented is not None and row.source_fingerprint != segmented.source_fingerprint):
        return None
    return row if reviews.intact_label(of.output_uri, row) else None


def _due(
    queue: Sequence[ScanRow], verdicts: Sequence[VerdictRow], corrections: Sequence[CorrectionRow], *, n_scans: int
) -> list[ScanRow]:
    """Return the scans to correct: those with that verdict, without any verdict the most urgent, flagged ones first."""
    verdict_of = verdicts_on(_masks(queue), verdicts)
    corrected = {row.scan_id for row in corrections if row.status == "accepted"}
    left = [row for row in queue if row.scan_id not in corrected]
    if verdict_of:
        return [row for row in left if verdict_of.get(row.scan_id) == "correct"]
    return sorted(left, key=lambda row: not needs_review(row))[:n_scans]


def _make_packages(
    due: Sequence[ScanRow],
    of: Segmented,
    sources: ListSources,
    earlier: Sequence[PackageRow],
    kind: SegmentationType,
) -> list[PackageRow]:
    """Return the rows of all packages; those of the same scan and mask are not made again."""
    made = {row.scan_id: row for row in earlier if row.status == "accepted"}
    rows = dict(made)
    for row in due:
        known = made.get(row.scan_id)
        if known and known.digest == package_digest(row, kind) and _is_whole(of.output_uri, row.scan_id):
            continue
        rows[row.scan_id] = make_package(sources().get(row.scan_id), row, of.output_uri, kind)
        _log_refusal("package", rows[row.scan_id])
    return [rows[scan_id] for scan_id in sorted(rows)]


def _draw_viewer(
    of: Segmented, manifest: SegmentationManifest, due: Sequence[ScanRow], tables: Tables, kind: SegmentationType
) -> str:
    """Return the page of the packaged scans: those to correct, most urgent first, then those that are corrected.

    A scan that was segmented anew since it was packaged is left out: a verdict is on the mask that its row names.
    """
    corrected = {row.scan_id: row for row in tables.corrections if row.status == "accepted"}
    packaged = {row.scan_id: row.digest for row in tables.packages if row.status == "accepted"}
    shown = [*due, *(of.rows[scan_id] for scan_id in corrected if scan_id in of.rows)]
    return draw_viewer(
        [row for row in shown if packaged.get(row.scan_id) == package_digest(row, kind)],
        of.output_uri,
        manifest,
        corrections=corrected,
        masks=_masks(of.rows.values()),
    )


def _is_whole(output_uri: str, scan_id: str) -> bool:
    """Return whether a package has its files; a reader may have moved its mask to the corrections."""
    names = (reviews.IMAGE_FILE, reviews.MASK_FILE, reviews.README_FILE)
    return all(storage.exists(reviews.package_uri(output_uri, scan_id, name)) for name in names)


def _log_refusal(what: str, row: CorrectionRow | PackageRow) -> None:
    """Log why something was refused; the name of a file that is no scan's may be a patient's and is not logged."""
    if row.status == "refused":
        name = "a file" if row.error_code == "unknown_scan" else row.scan_id
        logger.warning("review: %s of %s refused: %s", what, name, row.error)
    if row.where:
        logger.error("review: a scan triggered a bug, %s", row.where)


def _handle(output_uri: str, tables: Tables, earlier: Tables, *, due: Set[str]) -> ReviewHandle:
    refused, before = _refusals(tables), _refusals(earlier)
    return ReviewHandle(
        uri=output_uri,
        n_packages=sum(row.status == "accepted" and row.scan_id in due for row in tables.packages),
        n_verdicts=sum(row.status == "accepted" and row.verdict is not None for row in tables.verdicts),
        n_withdrawn=sum(row.status == "accepted" and row.verdict is None for row in tables.verdicts),
        n_corrections=sum(row.status == "accepted" for row in tables.corrections),
        n_refused=len(refused),
        n_new_refusals=len(refused - before),
    )


def _refusals(tables: Tables) -> set[tuple[str, ...]]:
    """Return what tells the refused lines, packages and corrections of a review apart."""
    return {
        *(("verdict", row.digest) for row in tables.verdicts if row.status == "refused"),
        *(("package", row.scan_id, row.digest, row.error_code or "") for row in tables.packages if row.error_code),
        *(
            ("correction", row.scan_id, row.sha256, row.error_code or "")
            for row in tables.corrections
            if row.status == "refused"
        ),
    }
