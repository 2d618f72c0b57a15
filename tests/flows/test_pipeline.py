"""The whole mission from a deployment, with cross-validation: the run, its bundle, its evaluation and its masks."""

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infra.automations import SILENT_S
from tasks.core.geometry import restore_probability
from tasks.core.landmarks import apply_rule
from tasks.core.metrics import Counts, count_pixels
from tasks.core.model_input import ModelInput
from tasks.core.operating_point import MIN_FLIPS_GAIN
from tasks.core.postprocess import area_on_grid, drop_small_lesions, threshold_probability
from tasks.core.schemas import ModelCard, SegmentationManifest
from tasks.core.smoothing import smooth_cases
from tasks.engine.inference.predictor import Predictor
from tasks.io.outputs import bundles, datasets
from tasks.stages.load_scans import load_scans
from tests.conftest import IN_FOLDS, MILD, MODEL, PREPARATION
from tests.flows.deployed import Server
from tests.stages.bright import bright_run, scans_of

pytestmark = [pytest.mark.server, pytest.mark.ray, pytest.mark.tf]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A deployed run of `run-pipeline`, and where it wrote."""

    run: dict[str, Any]  # Any: a flow run as the server has it
    root: Path

    @property
    def dataset_uri(self) -> str:
        """Dataset that it prepared."""
        return str(self.root / "dataset")

    @property
    def model_uri(self) -> str:
        """Bundle that it trained."""
        return str(self.root / "model")


@pytest.fixture(scope="module")
def pipeline(server: Server, phantoms: Path, new_scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The phantoms taken through every step by a worker, cross-validation and new scans included."""
    root = tmp_path_factory.mktemp("pipeline")
    parameters = {
        "source": str(phantoms),
        "out": str(root),
        "scans": str(new_scans),
        "preparation": PREPARATION.model_dump(),
        "model": MODEL.model_dump(),
        "training": IN_FOLDS.model_dump() | {"test_time_flips": None},
        "augment": MILD.model_dump(),
        "segmentation": {"settle_minutes": 0, "precision": "float32"},
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
    """Where flips are neither asked for nor refused, validation decides, and the card says how."""
    card = bundles.read_card(pipeline.model_uri)
    way = "with" if card.test_time_flips else "without"
    reached, otherwise = (
        float(dice) for dice in re.findall(r"mean Dice ([01]\.\d{3}),.*them ([01]\.\d{3})\)$", card.threshold_choice)[0]
    )
    assert f"; {way} flips (" in card.threshold_choice
    assert (reached - otherwise >= MIN_FLIPS_GAIN - 0.001) if card.test_time_flips else (otherwise - reached < 0.006)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A bundle of two networks, and predictors of them together and each alone."""

    uri: str
    card: ModelCard
    together: Predictor
    alone: tuple[Predictor, Predictor]


@pytest.fixture(scope="module")
def ensemble(pipeline: Pipeline) -> Ensemble:
    """The pipeline's bundle, loaded here."""
    uri = pipeline.model_uri
    how = {"precision": "float32", "batch_size": 8}
    alone = [Predictor.from_bundle(bundles.read_member(uri, index), **how) for index in (0, 1)]
    return Ensemble(uri, bundles.read_card(uri), Predictor.from_bundle(bundles.read_bundle(uri), **how), tuple(alone))


def test_every_patient_is_held_out_of_one_network(ensemble: Ensemble, pipeline: Pipeline) -> None:
    """Of every split; the bundle names its files by digest and holds nothing else but its cards."""
    held_out = [patient for member in ensemble.card.members for patient in member.held_out]
    assert sorted(held_out) == sorted(datasets.read_card(pipeline.dataset_uri).assignments)
    folder = Path(ensemble.uri)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files - {"model.json", "model_card.md", ".lesions.json"} == ensemble.card.files.keys()
    assert {path for path in files if path.endswith(".h5")} == set(ensemble.card.weights_files)
    assert len({ensemble.card.files[path] for path in ensemble.card.weights_files}) == 2


def test_each_patient_is_scored_by_the_network_that_never_saw_them(
    ensemble: Ensemble, pipeline: Pipeline, phantoms: Path
) -> None:
    """Of all patients, as the report says; each one's counts are those of that network at its own operating point."""
    report = json.loads((pipeline.root / "evaluation" / "metrics.json").read_text())
    assert report["n_patients"] == report["n_held_out"] == 5
    assert (
        "5 of 5 patients scored by the one of 2 networks that was not trained on them"
        in (pipeline.root / "evaluation" / "report.html").read_text()
    )
    scored_by = {patient: index for index, member in enumerate(ensemble.card.members) for patient in member.held_out}
    expected: dict[str, Counts] = {}
    for uri in (uri for split in ("train", "val", "test") for uri in datasets.list_shards(pipeline.dataset_uri, split)):
        rows = datasets.read_shard(uri)
        shown = apply_rule(np.stack([row["image"] for row in rows]), ensemble.card.intensity_rule)
        keys = [(row["case_id"], row["slice_index"]) for row in rows]
        by_network = [smooth_cases(predictor.predict(shown)[0], keys) for predictor in ensemble.alone]
        for n, row in enumerate(rows):
            index = scored_by[row["patient_id"]]
            member = ensemble.card.members[index]
            reference = np.asarray(Image.open(phantoms / "masks" / f"{row['case_id']}_{row['slice_index']}.png")) > 0
            probability = by_network[index][n]
            mask = threshold_probability(restore_probability(probability, reference.shape), member.threshold)
            area = area_on_grid(member.min_lesion_px, len(probability), reference.shape)
            prediction, _ = drop_small_lesions(mask, area)
            counts = count_pixels(prediction, reference.astype(np.uint8))
            expected[row["patient_id"]] = expected.get(row["patient_id"], Counts()) + counts
    for row in report["per_patient"]:
        counts = expected.pop(row["patient_id"])
        index = scored_by[row["patient_id"]]
        assert (row["member"], row["threshold"]) == (index, ensemble.card.members[index].threshold)
        assert (row["tp"], row["fp"], row["fn"], row["tn"]) == (counts.tp, counts.fp, counts.fn, counts.tn)
    assert not expected


def test_new_scans_get_the_mean_of_all_networks(
    ensemble: Ensemble, pipeline: Pipeline, new_scans: Path, tmp_path: Path
) -> None:
    """Masks are those of the networks' mean at the bundle's operating point; the run says that its price."""
    output = pipeline.root / "segmentation"
    manifest = SegmentationManifest.model_validate_json((output / "manifest.json").read_text())
    assert (manifest.n_predictions, manifest.counts["done"]) == (8 if ensemble.card.test_time_flips else 2, 6)
    assert "predictions averaged" in (output / "report.html").read_text()
    scans = scans_of(bright_run(new_scans.as_uri(), (tmp_path / "unused").as_uri()))
    card = ensemble.card
    images = load_scans(scans, ModelInput(card.input_size_px, card.hu, card.intensity_rule)).images
    lesion, lung = ensemble.together.predict(images)
    assert lung.max() > 127, "no lung is seen"
    for scan, probability in zip(scans, lesion, strict=True):
        mask = np.asarray(Image.open(output / "masks" / f"{scan.scan_id}.png")) > 0
        above = threshold_probability(restore_probability(probability, mask.shape), card.threshold)
        expected, _ = drop_small_lesions(above, area_on_grid(card.min_lesion_px, len(probability), mask.shape))
        np.testing.assert_array_equal(mask, expected.astype(bool))


def test_the_mean_is_that_of_the_networks_probabilities(ensemble: Ensemble) -> None:
    """The ensemble's probability of a pixel is the mean of its networks', to rounding; flips apart."""
    once = ensemble.card.model_copy(update={"test_time_flips": False})
    bundle = bundles.read_bundle(ensemble.uri)
    image = bundle.self_test.image[np.newaxis]
    together, *alone = (
        Predictor(once, weights, precision="float32", batch_size=1).predict(image).astype(int)
        for weights in (bundle.weights, *((content,) for content in bundle.weights))
    )
    assert np.abs(together - np.mean(alone, axis=0)).max() <= 1.5
    assert not np.array_equal(*alone)
