"""The whole mission from a deployment: what the run, and the bundle that it trained, must be."""

import hashlib
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from infra.automations import SILENT_S
from tasks.core.history import CURVES
from tasks.core.operating_point import MIN_FLIPS_GAIN
from tasks.io.outputs import bundles
from tests.conftest import MILD, MODEL, PREPARATION, TRAINING
from tests.flows.deployed import Server

pytestmark = [pytest.mark.server, pytest.mark.ray, pytest.mark.tf]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A deployed run of `run-pipeline`, and where it wrote."""

    run: dict[str, Any]  # Any: a flow run as the server has it
    root: Path

    @property
    def model_uri(self) -> str:
        """Bundle that it trained."""
        return str(self.root / "model")


@pytest.fixture(scope="module")
def pipeline(server: Server, phantoms: Path, new_scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The phantoms taken through every step by a worker, new scans included."""
    root = tmp_path_factory.mktemp("pipeline")
    parameters = {
        "source": str(phantoms),
        "out": str(root),
        "scans": str(new_scans),
        "preparation": PREPARATION.model_dump(),
        "model": MODEL.model_dump(),
        "training": TRAINING.model_dump(),
        "augment": MILD.model_dump(),
        "segmentation": {"settle_minutes": 0},
    }
    run = server.run("run-pipeline/run-pipeline", parameters)
    return Pipeline(run, root)


def test_run_pipeline_completes(server: Server, pipeline: Pipeline) -> None:
    """It runs from its deployment to Completed, each output finished, and is never silent."""
    assert pipeline.run["state_type"] == "COMPLETED", pipeline.run["state"]
    assert {"dataset", "training-history", "evaluation", "evaluation-patients"} <= server.artifacts(pipeline.run).keys()
    for card in (
        "dataset/dataset.json",
        "model/model.json",
        "evaluation/metrics.json",
        "evaluation/report.html",
        "segmentation/manifest.json",
    ):
        assert (pipeline.root / card).exists(), card
    beats = server.heartbeats(pipeline.run)
    assert len(beats) > 1
    assert max((later - earlier).total_seconds() for earlier, later in pairwise(beats)) < SILENT_S


def test_bundle_names_every_file_by_digest(pipeline: Pipeline) -> None:
    """The card lists weights, history, self-test and six curves, each with the digest the file has."""
    card = bundles.read_card(pipeline.model_uri)
    expected = {"model.weights.h5", "self_test.npz", "history.csv", *(f"curves/{name}.png" for name in CURVES)}
    assert card.files.keys() == expected
    for path, digest in card.files.items():
        assert hashlib.sha256(Path(pipeline.model_uri, path).read_bytes()).hexdigest() == digest
    assert not Path(pipeline.model_uri, "checkpoints").exists()


def test_history_has_a_row_an_epoch_with_train_and_val(pipeline: Pipeline) -> None:
    """The history holds each epoch once, with the six figures of both sides and their counts."""
    history = bundles.read_history(pipeline.model_uri)
    assert [row["epoch"] for row in history] == ["1", "2"]
    for figure in ("loss", "f1", "precision", "recall", "accuracy", "tp", "fp", "fn", "tn"):
        assert {f"train_{figure}", f"val_{figure}"} <= history[0].keys()


def test_loss_falls(pipeline: Pipeline) -> None:
    """Two epochs on phantoms are enough to see the training loss fall."""
    first, last = (float(row["train_loss"]) for row in bundles.read_history(pipeline.model_uri))
    assert last < first


def test_the_card_says_what_flips_change(pipeline: Pipeline) -> None:
    """Nobody asked for flips or against them, so validation decided, and the card says how."""
    card = bundles.read_card(pipeline.model_uri)
    way = "with" if card.test_time_flips else "without"
    reached, otherwise = (
        float(dice) for dice in re.findall(r"mean Dice ([01]\.\d{3}),.*them ([01]\.\d{3})\)$", card.threshold_choice)[0]
    )
    assert f"; {way} flips (" in card.threshold_choice
    assert (reached - otherwise >= MIN_FLIPS_GAIN - 0.001) if card.test_time_flips else (otherwise - reached < 0.006)
