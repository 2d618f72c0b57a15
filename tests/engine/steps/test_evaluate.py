import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.evaluate_model import evaluate_model
from tasks.core.geometry import restore_probability
from tasks.core.metrics import METRICS, Counts, count_pixels, score
from tasks.core.patient_metrics import PATIENT_METRICS
from tasks.core.postprocess import threshold_probability
from tasks.engine.inference.predictor import Predictor
from tasks.io.outputs import bundles, datasets
from tests.conftest import Trained

pytestmark = [pytest.mark.ray, pytest.mark.tf]


def test_counts_are_those_of_a_plain_loop(trained: Trained, report: Path, phantoms: Path) -> None:
    """Counting slice by slice against the mask files gives the report's counts, on the source's own grid."""
    bundle = bundles.read_bundle(trained.model_uri)
    predictor = Predictor.from_bundle(bundle, precision="float32", batch_size=4)
    counts = Counts()
    for uri in datasets.list_shards(trained.dataset_uri, "test"):
        for row in datasets.read_shard(uri):
            probability = predictor.predict(row["image"][np.newaxis])[0]
            prediction = threshold_probability(restore_probability(probability, (96, 96)), bundle.card.threshold)
            name = f"{row['case_id']}_{row['slice_index']}.png"
            reference = (np.asarray(Image.open(phantoms / "masks" / name)) > 0).astype(np.uint8)
            counts += count_pixels(prediction, reference)
    pooled = json.loads((report / "metrics.json").read_text())["pooled"]
    assert {name: pooled[name] for name in ("tp", "fp", "fn", "tn")} == {
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "tn": counts.tn,
    }


def test_every_ratio_follows_from_its_counts(report: Path) -> None:
    """Pooled, by patient and by source: each ratio is its formula over the counts beside it."""
    metrics = json.loads((report / "metrics.json").read_text())
    rows = [metrics["pooled"], *metrics["per_patient"], *metrics["per_source"].values()]
    assert len(rows) == 1 + metrics["n_patients"] + 1
    for row in rows:
        expected = score(Counts(row["tp"], row["fp"], row["fn"], row["tn"]))
        assert {name: row[name] for name in METRICS} == pytest.approx(expected)


def test_patients_have_the_metrics_that_need_masks(report: Path) -> None:
    """A column per metric; the error of a patient's one volume follows from its counts, too."""
    for row in json.loads((report / "metrics.json").read_text())["per_patient"]:
        assert PATIENT_METRICS.keys() <= row.keys()
        n_reference = row["tp"] + row["fn"]
        expected = (row["tp"] + row["fp"] - n_reference) / n_reference if n_reference else None
        assert row["volume_error"] == pytest.approx(expected)
        assert row["false_lesions_per_scan"] >= 0


def test_mean_is_over_patients(report: Path) -> None:
    """The headline figure is the mean of the patients' Dice; two patients give no interval."""
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["warnings"] == []
    dices = [row["dice"] for row in metrics["per_patient"] if row["dice"] is not None]
    assert metrics["per_patient_mean"]["dice"] == (pytest.approx(np.mean(dices)) if dices else None)
    assert metrics["n_patients"] == 2
    assert metrics["per_patient_mean"]["dice_ci95"] is None
    (source,) = metrics["per_source"].values()
    assert source["per_patient_mean"] == metrics["per_patient_mean"]


def test_another_dataset_than_the_bundle_was_trained_on_is_warned_of(trained: Trained, tmp_path: Path) -> None:
    """Its test patients may have been training patients there; on its own dataset nothing is said."""
    dataset, report = tmp_path / "dataset", tmp_path / "report"
    shutil.copytree(trained.dataset_uri, dataset)
    card = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps(card | {"fingerprint": "of another"}))
    evaluate_model(trained.model_uri, str(dataset), str(report))
    (warning,) = json.loads((report / "metrics.json").read_text())["warnings"]
    assert "another dataset" in warning


def test_report_is_one_self_contained_page(report: Path) -> None:
    """The page carries its pictures and loads nothing; the same pictures lie beside it as files."""
    page = (report / "report.html").read_text()
    assert "http" not in page.split("<body")[0]
    assert page.count('src="data:image/png;base64,') == page.count("<img")
    figures = {path.stem for path in (report / "figures").glob("*.png")}
    assert {"f1", "precision", "recall", "recall_precision", "accuracy", "loss", "precision_recall"} <= figures
    assert {"patient_best", "patient_worst"} <= figures  # two patients have no third in the middle
    assert "undefined" in page
