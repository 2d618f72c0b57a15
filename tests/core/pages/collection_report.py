"""Report of a collection on disk, for tests in a browser."""

from pathlib import Path

from tasks.core.pages.segmentation import segmentation_report, to_review
from tasks.core.phantoms import phantom_scan
from tasks.core.pictures.key_slices import key_slices
from tasks.core.pictures.panels import PALETTE, overlay, side_by_side
from tasks.core.rows import ScanRow
from tasks.io.formats.raster import write_png
from tests.core.samples import DONE, DRIFT, FAILED, MANIFEST

N_SCANS = 120
SIDE_PX = 256
PROFILE = [0, 1, 2, 3, 4, 3, 2, 1, 0]
"""Lesion voxels by slice: the preview shows the third, fifth and sixth."""
ODD_ID = 'odd, "name" <b>&%20'


def report_rows() -> list[ScanRow]:
    """Return scans of which every fourth is to be reviewed, a slice with an odd name, and a rejected scan."""
    rows = []
    for number in range(N_SCANS):
        is_flagged = number % 4 == 0
        changes = {
            "scan_id": f"scan_{number:03d}",
            "flags": ["low_quality"] if is_flagged else [],
            "lesion_voxels": 10 * number + 1,
            "quality": 0.2 + number / 200,
            "quality_low": 0.1,
            "quality_high": 0.9,
            "drift_score": 0.5,
            "n_slices": len(PROFILE),
            "is_oriented": True,
            "lesion_profile": PROFILE,
            "mask_sha256": f"{number:064x}",
        }
        rows.append(DONE.model_copy(update=changes))
    changes = {"flags": ["no_lung"], "quality": 0.1, "lesion_profile": [9], "mask_sha256": "f" * 64}
    return [*rows, DONE.model_copy(update={"scan_id": ODD_ID} | changes), FAILED]


def preview_of(row: ScanRow) -> bytes:
    """Return the preview of a phantom: its key slices side by side, with their lesions outlined."""
    scan = phantom_scan(3, n_slices=1, size_px=SIDE_PX)
    panel = overlay(scan.image[0], lesions=scan.mask[0])
    return write_png(side_by_side([panel] * len(key_slices(row.lesion_profile or [0]))), PALETTE)


def write_report(folder: Path) -> Path:
    """Write the report of these scans with two pictures inside it and all beside it; return its path."""
    rows = report_rows()
    pictures = {name: preview_of(row) for name, row in (("volume", rows[0]), ("slice", rows[-2]))}
    of = {row.scan_id: pictures["slice" if row.scan_id == ODD_ID else "volume"] for row in rows}
    (folder / "previews").mkdir()
    for scan_id, picture in of.items():
        (folder / "previews" / f"{scan_id}.png").write_bytes(picture)
    manifest = MANIFEST.model_copy(
        update={
            "counts": {"done": N_SCANS + 1, "skipped": 0, "deferred": 0, "failed": 1},
            "n_new_failures": 1,
            "drift": DRIFT,
            "warnings": ("drift: 2 of 9 scans look unlike the training data",),
        }
    )
    first = {row.scan_id: of[row.scan_id] for row in to_review(rows)[:2]}
    path = folder / "report.html"
    path.write_text(segmentation_report(manifest, rows, pictures=first), encoding="utf-8")
    return path
