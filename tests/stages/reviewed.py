"""A finished segmentation by the stand-in for a model, with table and manifest, and what a reader puts back."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import SimpleITK

from tasks.core.rows import ScanRow
from tasks.engine.steps.listing import list_scans
from tasks.io.outputs import segmentations
from tasks.io.pseudonyms import Seal
from tests.core.samples import MANIFEST
from tests.stages.bright import bright_run, open_and_keep, segment

MINUTE = timedelta(minutes=1)


def publish_segmentation(scans: Path, output: Path, *, seal: Seal | None = None, **asked: object) -> dict[str, ScanRow]:
    """Segment the scans of a folder, publish table and manifest, and return the rows by id."""
    run = bright_run(scans.as_uri(), output.as_uri(), hash_ids=seal is not None, **asked)
    found = list_scans(run.request, open_and_keep, math.inf, seal).scans(seal)
    rows = sorted(segment(run, found), key=lambda row: row.scan_id)
    manifest = MANIFEST.model_copy(update={"scans_uri": scans.as_uri(), "segmentation": run.request.segmentation})
    segmentations.publish(output.as_uri(), manifest, rows, page="")
    return {row.scan_id: row for row in rows}


def write_verdicts(output: Path, *lines: tuple[ScanRow, str], at: datetime | None = None) -> None:
    """Write verdicts.csv as the report exports it: one line per scan."""
    time = at or datetime.now(UTC)
    text = ["scan_id,verdict,mask_sha256,decided_at,comment"]
    for number, (row, verdict) in enumerate(lines):
        decided_at = (time - number * MINUTE).isoformat().replace("+00:00", "Z")
        text.append(f'{row.scan_id},{verdict},{row.mask_sha256},{decided_at},"checked, twice"')
    (output / "review").mkdir(exist_ok=True)
    (output / "review" / "verdicts.csv").write_text("\n".join(text) + "\n")


def put_back(output: Path, name: str, content: bytes) -> Path:
    """Put a file into the folder of the corrections."""
    path = output / "review" / "corrections" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def correct_with_itk(output: Path, scan_id: str, *, suffix: str = ".nii.gz") -> np.ndarray:
    """Grow the lesion of a package by a voxel in ITK, put the result back, and return it, `(z, y, x)`."""
    mask = SimpleITK.ReadImage(str(output / "review" / "packages" / scan_id / "mask.nii.gz"))
    grown = SimpleITK.BinaryDilate(mask, [1, 1, 0], SimpleITK.sitkCross, 0, 1)
    path = output / "review" / "corrections" / f"{scan_id}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(grown, str(path), useCompression=True)
    return SimpleITK.GetArrayFromImage(grown)
