"""Command `lesions demo`: every flow run on phantoms in a few minutes, without configuration."""

from pathlib import Path

from rich.console import Console

from flows.run_pipeline import run_pipeline
from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.learning import TrainingConfig
from tasks.core.config.preparation import Fractions, PreparationConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.errors import ConfigError
from tasks.core.schemas import EvaluationReport, SegmentationManifest
from tasks.io import storage
from tasks.io.phantom_collection import PATIENT_ID_PATTERN, write_phantom_collection

SIZE_PX = 128
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


def demo(out: Path = Path("demo-output")) -> None:
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
    write_phantom_collection(labelled, n_patients=10, n_slices=20, size_px=SIZE_PX)
    write_phantom_collection(new_scans, n_patients=1, n_slices=20, size_px=SIZE_PX, first_patient=100)
    run_pipeline(
        labelled,
        root,
        storage.join(new_scans, "frames"),
        preparation=PreparationConfig(
            size_px=SIZE_PX, patient_id_pattern=PATIENT_ID_PATTERN, fractions=Fractions(val=0.2, test=0.3)
        ),
        training=TrainingConfig(epochs=14, batch_size=8),
        augment=GENTLE,
        segmentation=SegmentationConfig(settle_minutes=0),
    )
    _print_results(root)


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
    counts = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in manifest.counts.items())
    console.print(f"New scans: {counts}", highlight=False)
    console.print(f"Report: {root}/evaluation/report.html", highlight=False, soft_wrap=True)
