"""Cross-validation end to end: two folds trained, the ensemble of both bundled, evaluated and run on new scans."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.evaluate_model import evaluate_model
from flows.segment_scans import segment_scans
from flows.train_model import train_model
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.geometry import restore_probability
from tasks.core.metrics import Counts, count_pixels
from tasks.core.postprocess import threshold_probability
from tasks.core.schemas import ModelCard, SegmentationManifest
from tasks.engine.inference.predictor import Predictor
from tasks.io.outputs import bundles, datasets
from tasks.stages.load_scans import load_scans
from tests.conftest import IN_FOLDS, MILD, MODEL, SIZE_PX
from tests.stages.bright import bright_run, scans_of

pytestmark = [pytest.mark.ray, pytest.mark.tf, pytest.mark.server]

AT_ONCE = SegmentationConfig(settle_minutes=0)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A bundle of two networks, and predictors of them together and each alone."""

    uri: str
    card: ModelCard
    together: Predictor
    alone: tuple[Predictor, Predictor]


@pytest.fixture(scope="module")
def ensemble(dataset_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """A bundle of two folds, trained for an epoch through the real flow, and loaded here."""
    uri = (tmp_path_factory.mktemp("ensemble") / "model").as_uri()
    train_model(dataset_uri, uri, model=MODEL, training=IN_FOLDS, augment=MILD)
    how = {"precision": "float32", "batch_size": 8}
    alone = [Predictor.from_bundle(bundles.read_member(uri, index), **how) for index in (0, 1)]
    return Ensemble(uri, bundles.read_card(uri), Predictor.from_bundle(bundles.read_bundle(uri), **how), tuple(alone))


def test_every_patient_is_held_out_of_one_network(ensemble: Ensemble, dataset_uri: str) -> None:
    """Of every split; the bundle names all files of its networks by digest and holds nothing else."""
    held_out = [patient for member in ensemble.card.members for patient in member.held_out]
    assert sorted(held_out) == sorted(datasets.read_card(dataset_uri).assignments)
    folder = Path(ensemble.uri.removeprefix("file://"))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files - {"model.json", ".lesions.json"} == ensemble.card.files.keys()
    assert {path for path in files if path.endswith(".h5")} == set(ensemble.card.weights_files)
    assert len({ensemble.card.files[path] for path in ensemble.card.weights_files}) == 2


def test_each_patient_is_scored_by_the_network_that_never_saw_them(
    ensemble: Ensemble, dataset_uri: str, phantoms: Path, tmp_path: Path
) -> None:
    """Of all patients, as the report says; each one's counts are those of that network at its own threshold."""
    evaluate_model(ensemble.uri, dataset_uri, str(tmp_path), split="all")
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["n_patients"] == report["n_held_out"] == 5
    assert (
        "5 of 5 patients scored by the one of 2 networks that was not trained on them"
        in (tmp_path / "report.html").read_text()
    )
    scored_by = {patient: index for index, member in enumerate(ensemble.card.members) for patient in member.held_out}
    expected: dict[str, Counts] = {}
    for uri in (uri for split in ("train", "val", "test") for uri in datasets.list_shards(dataset_uri, split)):
        rows = datasets.read_shard(uri)
        images = np.stack([row["image"] for row in rows])
        by_network = [predictor.predict(images) for predictor in ensemble.alone]
        for n, row in enumerate(rows):
            index = scored_by[row["patient_id"]]
            reference = np.asarray(Image.open(phantoms / "masks" / f"{row['case_id']}_{row['slice_index']}.png")) > 0
            prediction = threshold_probability(
                restore_probability(by_network[index][n], reference.shape), ensemble.card.members[index].threshold
            )
            counts = count_pixels(prediction, reference.astype(np.uint8))
            expected[row["patient_id"]] = expected.get(row["patient_id"], Counts()) + counts
    for row in report["per_patient"]:
        counts = expected.pop(row["patient_id"])
        index = scored_by[row["patient_id"]]
        assert (row["member"], row["threshold"]) == (index, ensemble.card.members[index].threshold)
        assert (row["tp"], row["fp"], row["fn"], row["tn"]) == (counts.tp, counts.fp, counts.fn, counts.tn)
    assert not expected


def test_new_scans_get_the_mean_of_all_networks(ensemble: Ensemble, new_scans: Path, tmp_path: Path) -> None:
    """Masks are those of the networks' mean at the bundle's threshold; the run says that it costs as much as two."""
    segment_scans(ensemble.uri, str(new_scans), str(tmp_path / "output"), segmentation=AT_ONCE)
    manifest = SegmentationManifest.model_validate_json((tmp_path / "output" / "manifest.json").read_text())
    assert (manifest.n_predictions, manifest.counts["done"]) == (2, 6)
    assert "predictions averaged" in (tmp_path / "output" / "report.html").read_text()
    scans = scans_of(bright_run(new_scans.as_uri(), (tmp_path / "unused").as_uri()))
    images = load_scans(scans, size_px=SIZE_PX, hu=ensemble.card.hu).images
    for scan, probability in zip(scans, ensemble.together.predict(images), strict=True):
        mask = np.asarray(Image.open(tmp_path / "output" / "masks" / f"{scan.scan_id}.png")) > 0
        expected = threshold_probability(restore_probability(probability, mask.shape), ensemble.card.threshold)
        np.testing.assert_array_equal(mask, expected.astype(bool))


def test_the_mean_is_that_of_the_networks_probabilities(ensemble: Ensemble) -> None:
    """The ensemble's probability of a pixel is the mean of its networks', to rounding."""
    image = bundles.read_bundle(ensemble.uri).self_test.image[np.newaxis]
    alone = [predictor.predict(image) for predictor in ensemble.alone]
    assert np.abs(ensemble.together.predict(image).astype(int) - np.mean(alone, axis=0)).max() <= 1.5
    assert not np.array_equal(*alone)
