"""Command `lesions demo`: every flow run on phantoms in a few minutes, without configuration."""

from pathlib import Path

from rich.console import Console

from flows.run_pipeline import run_pipeline
from tasks.core.collection_summary import CollectionSummary
from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.learning import TrainingConfig
from tasks.core.config.preparation import Fractions, PreparationConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.errors import ConfigError, IncompleteError
from tasks.core.schemas import EvaluationReport, SegmentationManifest
from tasks.io import storage
from tasks.io.outputs import segmentations
from tasks.io.phantom_collection import PATIENT_ID_PATTERN, write_phantom_collection
from tasks.io.phantom_volumes import WINDOW, write_phantom_volumes

SIZE_PX = 128
TORN = "planted_cut_short"
OWN_FOLDERS = {f"{name}/" for name in ("labelled", "scans", "dataset", "model", "evaluation", "segmentation")}
GENTLE = AugmentConfig(
    quarter_turns=0,
    rotate_degrees=10,
    zoom=0.1,
    zoom_in=0,
    shift=0.05,
    tone_curve=0,
    brightness=0.1,
    contrast=0.1,
    equalisation=0,
    blur=0,
    jpeg=0,
)
"""Weak augmentation, because the network must learn in the few dozen steps of the demo (infra/decisions/0014)."""


def demo(out: Path = Path("demo-output")) -> dict[str, str]:
    """Run every step on generated phantom scans: prepare, train, evaluate and segment.

    Args:
        out: Folder for the phantoms and all outputs; empty or from an earlier demo.
    """
    root = str(out.absolute())
    others = sorted(set(storage.list_names(root)) - OWN_FOLDERS)
    if others:
        raise ConfigError(
            f"{root} holds files or folders that no demo wrote: {len(others)}. Choose an empty folder with --out."
        )
    labelled, new_scans = storage.join(root, "labelled"), storage.join(root, "scans")
    write_phantom_collection(labelled, n_patients=11, n_slices=20, size_px=SIZE_PX)
    write_phantom_volumes(new_scans, n_slices=24, size_px=SIZE_PX)
    try:
        run_pipeline(
            labelled,
            root,
            new_scans,
            preparation=PreparationConfig(
                size_px=SIZE_PX,
                patient_id_pattern=PATIENT_ID_PATTERN,
                fractions=Fractions(val=0.27, test=0.27),
                hu=WINDOW,
            ),
            training=TrainingConfig(epochs=14, batch_size=8),
            augment=GENTLE,
            segmentation=SegmentationConfig(settle_minutes=0),
        )
    except IncompleteError:  # one scan is a torn file, so that the report has a rejection to show
        _require_planted(root)
    _print_results(root)
    return {name: storage.join(root, name) for name in ("dataset", "model", "evaluation", "segmentation")}


def _require_planted(root: str) -> None:
    """Require that nothing was rejected but what was planted.

    Raises:
        IncompleteError: If anything else was.
    """
    rows = segmentations.read_rows(storage.join(root, "segmentation"))
    rejected = [row.scan_id for row in rows if row.status == "failed"]
    if rejected != [TORN]:
        raise IncompleteError(f"Of the demo's scans {rejected} were rejected; only {TORN} is planted.")


def _print_results(root: str) -> None:
    metrics = EvaluationReport.model_validate_json(storage.read_bytes(storage.join(root, "evaluation", "metrics.json")))
    manifest = SegmentationManifest.model_validate_json(
        storage.read_bytes(storage.join(root, "segmentation", "manifest.json"))
    )
    mean = metrics.per_patient_mean["dice"]
    console = Console()
    console.print(f"Test Dice, mean of {metrics.n_patients} unseen phantom patients: {mean:.3f}", highlight=False)
    console.print(
        f"Pooled over {metrics.n_slices} slices: Dice {metrics.pooled['dice']:.3f}, "
        f"precision {metrics.pooled['precision']:.3f}, recall {metrics.pooled['recall']:.3f}",
        highlight=False,
    )
    rows = segmentations.read_rows(storage.join(root, "segmentation"))
    console.print(f"New scans: {CollectionSummary.of(manifest, rows).sentence}", highlight=False)
    console.print(f"The rejected one, {TORN}, is a torn file that the demo planted.", highlight=False)
    for what, name in (("model", "evaluation"), ("new scans", "segmentation")):
        console.print(f"Report of the {what}: {root}/{name}/report.html", highlight=False, soft_wrap=True)
