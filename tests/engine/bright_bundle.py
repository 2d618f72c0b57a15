"""The bundle of the stand-in for a model: a card and curves, and weights that nothing loads; segmentation with it."""

from pathlib import Path

import numpy as np

from tasks.core.handles import SegmentationHandle
from tasks.core.history import EpochRow
from tasks.core.pictures.figures import training_curves
from tasks.core.schemas import WEIGHTS_FILE
from tasks.core.step_inputs import SegmentRequest
from tasks.core.throughput import ReportProgress
from tasks.engine.steps.segment import segment
from tasks.io.outputs import bundles
from tests.conftest import SIZE_PX
from tests.core.samples import MODEL
from tests.engine.bright_model import load_bright

SIDES, FIGURES = ("train", "val"), ("loss", "f1", "precision", "recall", "accuracy")
HISTORY: list[EpochRow] = [
    {"epoch": epoch} | {f"{side}_{figure}": 0.5 / epoch for side in SIDES for figure in FIGURES} for epoch in (1, 2)
]


def publish_bright_bundle(folder: Path, **changes: object) -> str:
    """Publish the card of the stand-in with its training curves, and return the URI of its bundle.

    Args:
        folder: Where it goes.
        changes: Of the card.
    """
    curves = {f"{bundles.CURVES_FOLDER}/{name}.png": png for name, png in training_curves(HISTORY).items()}
    image = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    stand_ins = {
        WEIGHTS_FILE: b"of none",
        bundles.SELF_TEST_FILE: bundles.SelfTest.from_probability(image, image).to_bytes(),
    }
    files = bundles.publish_files(folder.as_uri(), curves | stand_ins)
    card = MODEL.model_copy(update={"input_size_px": SIZE_PX, "min_lesion_px": 0, "files": files} | changes)
    bundles.publish_card(folder.as_uri(), card)
    return folder.as_uri()


def segment_bright(request: SegmentRequest, report_progress: ReportProgress = lambda _: None) -> SegmentationHandle:
    """Take a segmentation through the real step, with the stand-in in its actors."""
    return segment(request, report_progress, load_model=load_bright)
