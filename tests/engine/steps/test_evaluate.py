"""The evaluation step, over a stand-in for a model: what is counted, and what is said of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.errors import ConfigError
from tasks.core.geometry import restore_probability
from tasks.core.metrics import METRICS, Counts, count_pixels, score
from tasks.core.patient_metrics import PATIENT_METRICS
from tasks.core.postprocess import threshold_probability
from tasks.core.step_inputs import EvaluateRequest, TrainRequest
from tasks.engine.steps.evaluate import evaluate
from tasks.engine.steps.train import train
from tasks.io.outputs import bundles, datasets
from tests.conftest import MODEL, TRAINING
from tests.core.samples import MEMBER
from tests.engine.bright_bundle import publish_bright_bundle
from tests.engine.bright_model import BrightModel, load_bright

pytestmark = [pytest.mark.ray, pytest.mark.server, pytest.mark.usefixtures("ray_session")]


def _evaluate(model_uri: str, dataset_uri: str, report: Path, split: str = "test") -> dict[str, object]:
    request = EvaluateRequest(model_uri=model_uri, dataset_uri=dataset_uri, report_uri=report.as_uri(), split=split)
    evaluate(request, load_model=load_bright)
    return dict(json.loads((report / "metrics.json").read_text()))


@pytest.fixture(scope="module")
def bundle(dataset_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-in's bundle, as if trained on the dataset."""
    fingerprint = datasets.read_card(dataset_uri).fingerprint
    return publish_bright_bundle(tmp_path_factory.mktemp("bundle"), dataset_fingerprint=fingerprint)


@pytest.fixture(scope="module")
def report(bundle: str, dataset_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation of the stand-in on the test patients."""
    folder = tmp_path_factory.mktemp("evaluation")
    _evaluate(bundle, dataset_uri, folder)
    return folder


def test_a_dataset_that_lacks_a_shard_is_refused(bundle: str, dataset_uri: str, tmp_path: Path) -> None:
    """Neither scored nor trained on as if it were whole; nothing is written."""
    copy = tmp_path / "dataset"
    shutil.copytree(dataset_uri.removeprefix("file://"), copy)
    next((copy / "slices" / "split=test").iterdir()).unlink()
    asked = TrainRequest(
        dataset_uri=copy.as_uri(),
        model_uri=(tmp_path / "model").as_uri(),
        model=MODEL,
        training=TRAINING,
        augment=AugmentConfig(),
    )
    with pytest.raises(ConfigError, match="a shard is missing"):
        train(asked)
    assert not (tmp_path / "model").exists()
    with pytest.raises(ConfigError, match="a shard is missing"):
        _evaluate(bundle, copy.as_uri(), tmp_path / "report")


def test_counts_are_those_of_a_plain_loop(bundle: str, dataset_uri: str, report: Path, phantoms: Path) -> None:
    """Counting slice by slice against the mask files gives the report's counts, on the source's own grid."""
    threshold = bundles.read_card(bundle).threshold
    counts = Counts()
    for uri in datasets.list_shards(dataset_uri, "test"):
        for row in datasets.read_shard(uri):
            probability = BrightModel(flips=False).predict(row["image"][np.newaxis])[0, 0]
            prediction = threshold_probability(restore_probability(probability, (96, 96)), threshold)
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
    assert min(counts.fp, counts.fn, counts.tn) > 0


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


def test_another_dataset_than_the_bundle_was_trained_on_is_warned_of(
    bundle: str, dataset_uri: str, tmp_path: Path
) -> None:
    """Its test patients may have been training patients there; on its own dataset nothing is said."""
    shutil.copytree(dataset_uri, tmp_path / "dataset")
    card = json.loads((tmp_path / "dataset" / "dataset.json").read_text())
    (tmp_path / "dataset" / "dataset.json").write_text(json.dumps(card | {"fingerprint": "of another"}))
    found = _evaluate(bundle, str(tmp_path / "dataset"), tmp_path / "report")
    [warning] = found["warnings"]
    assert "another dataset" in warning


def test_a_patients_figures_do_not_depend_on_who_else_is_scored(dataset_uri: str, tmp_path: Path) -> None:
    """Each is scored by the network of an ensemble that never saw them, at its operating point, in whatever split."""
    patients = sorted(datasets.read_card(dataset_uri).assignments)
    held_out = (tuple(patients[::2]), tuple(patients[1::2]))
    members = tuple(
        MEMBER.model_copy(update={"held_out": of, "threshold": threshold, "test_time_flips": flips})
        for of, threshold, flips in zip(held_out, (0.2, 0.6), (True, False), strict=True)
    )
    files = {name: "of none" for member in members for name in (member.weights_file,)}
    bundle = publish_bright_bundle(tmp_path / "bundle", members=members, files=files)
    everybody, few = (_evaluate(bundle, dataset_uri, tmp_path / split, split) for split in ("all", "test"))
    assert everybody["n_patients"] == everybody["n_held_out"] == len(patients)
    by_patient = {row["patient_id"]: row for row in everybody["per_patient"]}
    assert [by_patient[row["patient_id"]] for row in few["per_patient"]] == few["per_patient"]
    for index, member in enumerate(members):
        for patient in member.held_out:
            assert (by_patient[patient]["member"], by_patient[patient]["threshold"]) == (index, member.threshold)
    assert (
        "5 of 5 patients scored by the one of 2 networks that was not trained on them"
        in (tmp_path / "all" / "report.html").read_text()
    )


def test_a_report_is_compared_patient_by_patient(bundle: str, dataset_uri: str, report: Path, tmp_path: Path) -> None:
    """The same bundle on the same patients differs by nothing; of other patients it is refused before anything runs."""
    asked = {"model_uri": bundle, "dataset_uri": dataset_uri, "report_uri": (tmp_path / "report").as_uri()}
    evaluate(EvaluateRequest(**asked, split="test", compare_with=report.as_uri()), load_model=load_bright)
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())["comparison"]
    assert found["n_left_out"] == 0
    assert {patient["difference"] for patient in found["patients"]} <= {0.0, None}
    assert not any(patient["is_worse"] for patient in found["patients"])
    assert "Comparison with an earlier evaluation" in (tmp_path / "report" / "report.html").read_text()
    other = EvaluateRequest(
        **asked | {"report_uri": (tmp_path / "other").as_uri()}, split="val", compare_with=str(report)
    )
    with pytest.raises(ConfigError, match="holds other patients than this split"):
        evaluate(other, load_model=load_bright)
    assert not (tmp_path / "other").exists()


def test_report_is_one_self_contained_page(report: Path) -> None:
    """The page carries its pictures and loads nothing; the same pictures lie beside it as files."""
    page = (report / "report.html").read_text()
    assert "://" not in page.split("<body")[0]
    assert page.count('src="data:image/png;base64,') == page.count("<img")
    figures = {path.stem for path in (report / "figures").glob("*.png")}
    assert {"f1", "precision", "recall", "recall_precision", "accuracy", "loss", "precision_recall"} <= figures
    assert {"patient_best", "patient_worst"} <= figures  # two patients have no third in the middle
    assert "undefined" in page
