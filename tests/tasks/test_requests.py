"""What cannot work is refused before anything starts."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.evaluation import EvaluationConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.errors import ConfigError
from tasks.core.step_inputs import EvaluateRequest, TrainRequest
from tasks.engine.cluster.session import session
from tasks.engine.jobs import connection
from tasks.evaluate import evaluation_request, require_comparable
from tasks.io.outputs import datasets
from tasks.runtime.addresses import locate
from tasks.segment import segmentation_request
from tasks.train import training_request
from tests.core.samples import CASE, DATASET, EVALUATION

PLACES = ("gs://b/model", "gs://b/scans", "gs://b/masks")


def test_gpus_are_asked_of_a_cluster_only() -> None:
    """This machine cannot start a GPU; a cluster may, and is told how many."""
    with pytest.raises(ValidationError, match="no cluster"):
        ComputeConfig(gpus=2)
    compute = ComputeConfig(gpus=2, ray_address="http://head:8265")
    assert segmentation_request(*PLACES, segmentation=SegmentationConfig(), compute=compute).n_gpus == 2


def test_an_output_below_its_scans_is_refused() -> None:
    """The next night would take its masks for scans."""
    with pytest.raises(ConfigError, match="below the scans"):
        segmentation_request(
            PLACES[0], PLACES[1], f"{PLACES[1]}/masks", segmentation=SegmentationConfig(), compute=ComputeConfig()
        )


@pytest.mark.parametrize(
    ("training", "start_from", "sentence"),
    [
        ({"batch_size": 16, "num_workers": 3}, None, "multiple of num_workers"),
        ({"batch_size": 16, "num_workers": 2, "gpus_per_worker": 3}, None, "6 in all"),
        ({"precision": "float16"}, None, "only GPUs have"),
        ({"freeze_batchnorm": True}, None, "only if it starts from a bundle"),
        ({"folds": 2}, "gs://b/parent", "trained on some of them"),
        ({"folds": 2, "schedule": "reduce_on_plateau"}, None, "must not control"),
        ({}, "gs://b/model", "Write it elsewhere"),
    ],
)
def test_a_training_that_would_mislead_is_refused(
    training: dict[str, bool | int | str], start_from: str | None, sentence: str
) -> None:
    """One sentence says what to set, before slices are prepared for hours."""
    with pytest.raises((ConfigError, ValidationError), match=sentence):
        training_request(
            "gs://b/dataset",
            "gs://b/model",
            model=ModelConfig(start_from=start_from),
            training=TrainingConfig.model_validate(training),
            augment=AugmentConfig(),
        )


@pytest.mark.parametrize(
    "uri",
    ["https://user:hunter2@host/a", "https://host/a?token=hunter2", "s3://key:hunter2@bucket/a", "ftp://hunter2@h/a"],
)
def test_an_address_with_credentials_is_no_parameter(uri: str) -> None:
    """Prefect stores and shows parameters: refused wherever an address is given, and not repeated."""
    calls = (
        lambda: locate(uri),
        lambda: _training(ModelConfig(start_from=uri)),
        lambda: _training(ModelConfig(encoder_weights=uri)),
        lambda: _evaluation(uri),
        lambda: session(ComputeConfig(ray_address=uri)).__enter__(),
        lambda: connection.connect(uri),
    )
    for call in calls:
        with pytest.raises(ConfigError, match="through the environment") as caught:
            call()
        assert "hunter2" not in str(caught.value)


def _training(model: ModelConfig) -> TrainRequest:
    return training_request(
        "gs://b/dataset", "gs://b/model", model=model, training=TrainingConfig(), augment=AugmentConfig()
    )


@pytest.mark.parametrize("uri", ["", " "])
def test_an_empty_address_is_not_this_folder(uri: str) -> None:
    """A variable that is not set leaves an empty text, which as a path would mean the working folder."""
    with pytest.raises(ConfigError, match="Is a variable not set"):
        locate(uri)


def _evaluation(compare_with: str | None, *, report: str = "file:///report") -> EvaluateRequest:
    places = ("file:///model", "file:///dataset", report)
    return evaluation_request(*places, split="test", evaluation=EvaluationConfig(compare_with=compare_with))


@pytest.mark.parametrize("name", ["", "/metrics.json"])
def test_an_earlier_evaluation_is_named_by_folder_or_file(tmp_path: Path, name: str) -> None:
    """Either leads to its metrics; nothing, or a field that was cleared, compares with none."""
    (tmp_path / "metrics.json").write_text(EVALUATION.model_dump_json())
    assert _evaluation(f"{tmp_path}{name}").compare_with == f"{tmp_path.as_uri()}{name}"
    assert _evaluation(None).compare_with is _evaluation("").compare_with is None


def test_an_earlier_evaluation_that_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    """None there, damaged, of another split, or where the new report is to be: before anything is trained or scored."""
    metrics = tmp_path / "metrics.json"
    with pytest.raises(ConfigError, match=r"holds no metrics\.json, so no finished evaluation"):
        _evaluation(str(tmp_path))
    metrics.write_text("{}")
    with pytest.raises(ConfigError, match=r"is damaged, or was written by another version"):
        _evaluation(str(tmp_path))
    metrics.write_text(EVALUATION.model_copy(update={"split": "val"}).model_dump_json())
    with pytest.raises(ConfigError, match="is an evaluation on val, this one is on test"):
        _evaluation(str(tmp_path))
    metrics.write_text(EVALUATION.model_dump_json())
    for name in ("", "/metrics.json"):
        with pytest.raises(ConfigError, match=r"which the new report replaces\. Write it elsewhere"):
            _evaluation(f"{tmp_path}{name}", report=tmp_path.as_uri())


def test_an_earlier_evaluation_of_other_patients_is_refused_before_a_training(tmp_path: Path) -> None:
    """As soon as the dataset is there, its patients are compared with those that were scored."""
    (tmp_path / "metrics.json").write_text(EVALUATION.model_dump_json())
    dataset = (tmp_path / "dataset").as_uri()
    cases = [
        CASE.model_copy(update={"patient_id": f"patient_{name}", "case_id": name, "split": split})
        for name, split in (("a", "test"), ("b", "test"), ("c", "train"))
    ]
    asked = _evaluation(str(tmp_path)).model_copy(update={"dataset_uri": dataset})
    datasets.publish_dataset(dataset, DATASET, cases=cases, failures=[], duplicates=[])
    require_comparable(asked)
    datasets.publish_dataset(dataset, DATASET, cases=cases[1:], failures=[], duplicates=[])
    with pytest.raises(ConfigError, match="0 only here, 1 only there"):
        require_comparable(asked)
