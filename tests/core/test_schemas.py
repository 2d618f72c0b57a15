import hashlib
import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.core import handles, rows, schemas, step_inputs
from tasks.core.config.learning import TrainingConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.record import Record
from tasks.core.rows import CaseRow, ScanRow
from tasks.core.schemas import (
    SCHEMA_VERSION,
    WEIGHTS_FILE,
    DatasetCard,
    EvaluationReport,
    ModelCard,
    SegmentationManifest,
)
from tests.core.samples import DATASET, DONE, MODEL, SAMPLES

FILES = [DatasetCard, ModelCard, EvaluationReport, SegmentationManifest]


def _json_of(record: type[Record]) -> dict[str, Any]:  # Any: JSON
    return SAMPLES[record].model_dump(mode="json")


def test_every_record_has_a_sample() -> None:
    """A new record joins the tests below by being added to the samples."""
    modules = (schemas, rows, handles, step_inputs)
    members = [member for module in modules for _, member in inspect.getmembers(module, inspect.isclass)]
    defined = {member for member in members if issubclass(member, Record)}
    assert set(SAMPLES) == defined - {Record}


@pytest.mark.parametrize("record", SAMPLES)
def test_record_travels_as_json(record: type[Record]) -> None:
    """What one step writes, the next reads as it was."""
    assert record.model_validate_json(SAMPLES[record].model_dump_json()) == SAMPLES[record]


@pytest.mark.parametrize("record", SAMPLES)
def test_record_of_a_later_minor_version_is_read(record: type[Record]) -> None:
    """A field this version does not know is ignored."""
    assert record.model_validate(_json_of(record) | {"field_of_1_1": [1, 2]}) == SAMPLES[record]


@pytest.mark.parametrize("record", SAMPLES)
def test_record_cannot_be_changed(record: type[Record]) -> None:
    """A record says what happened; it is not edited afterwards."""
    field = next(iter(record.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(SAMPLES[record].model_copy(), field, "something else")


@pytest.mark.parametrize("record", SAMPLES)
def test_record_refuses_to_be_incomplete(record: type[Record]) -> None:
    """Nothing that must be known is made up: each field without a default has to be there."""
    content = _json_of(record)
    for field, info in record.model_fields.items():
        if info.is_required():
            with pytest.raises(ValidationError, match=field):
                record.model_validate({name: value for name, value in content.items() if name != field})


@pytest.mark.parametrize("record", FILES)
def test_file_names_its_schema(record: type[Record]) -> None:
    """Every file says by which version it is to be read."""
    assert _json_of(record)["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize("record", SAMPLES)
def test_file_of_the_first_version_is_read(record: type[Record]) -> None:
    """Fields with a default may be missing, as they are in files from before they were added."""
    content = {name: value for name, value in _json_of(record).items() if record.model_fields[name].is_required()}
    assert record.model_validate(content).model_dump(include=set(content)) == SAMPLES[record].model_dump(
        include=set(content)
    )


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [
        (CaseRow, "split", "holdout"),
        (ScanRow, "status", "running"),
        (DatasetCard, "intensity_rule", "hu_window"),
        (DatasetCard, "assignments", {"patient_1": "holdout"}),
        (ModelCard, "architecture", "transformer"),
        (SegmentationManifest, "counts", {"lost": 3}),
    ],
)
def test_value_that_is_not_a_choice_is_refused(record: type[Record], field: str, value: object) -> None:
    """A file that speaks of what this version cannot do is refused instead of misread."""
    with pytest.raises(ValidationError, match=field):
        record.model_validate(_json_of(record) | {field: value})


def test_rows_do_not_share_their_lists() -> None:
    """A flag on one scan is not a flag on the next."""
    one, other = (ScanRow.model_validate(_json_of(ScanRow) | {"scan_id": name}) for name in "ab")
    one.flags.append("large")
    assert other.flags == []
    assert DONE.flags == []


def test_model_digest_is_a_sha256_over_what_decides_a_mask() -> None:
    """By hand; a change of this rule would make every finished scan look unfinished."""
    decisive = (
        '{"architecture":"unet","backbone":"resnet34",'
        '"hu":{"mapping":"window","window_level_hu":-600.0,"window_width_hu":1500.0},"input_size_px":256,'
        '"intensity_rule":"slice_8bit","min_lesion_px":3,"slice_statistics":0.0,"test_time_flips":false,'
        f'"threshold":0.4,"weights":["{"d" * 64}"]}}'
    )
    assert MODEL.digest == hashlib.sha256(decisive.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "fpn"},
        {"backbone": "resnet18"},
        {"input_size_px": 128},
        {"threshold": 0.41},
        {"min_lesion_px": 4},
        {"test_time_flips": True},
        {"slice_statistics": 0.2},
        {"files": {WEIGHTS_FILE: "e" * 64}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_model_digest_changes_with_what_decides_a_mask(change: dict[str, object]) -> None:
    """Other weights, network, input or operating point are another model."""
    assert MODEL.model_copy(update=change).digest != MODEL.digest


@pytest.mark.parametrize(
    "change",
    [
        {"code_version": "9"},
        {"training": TrainingConfig(epochs=3)},
        {"files": {WEIGHTS_FILE: "d" * 64, "history.csv": "f" * 64}},
        {"warnings": ("leaky",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_model_digest_ignores_what_does_not(change: dict[str, object]) -> None:
    """How the same weights came about, and what lies beside them, does not make scans be done again."""
    assert MODEL.model_copy(update=change).digest == MODEL.digest


def test_parameters_inside_a_file_come_back_typed() -> None:
    """A manifest's parameters are checked again when it is read."""
    manifest = SegmentationManifest.model_validate_json(SAMPLES[SegmentationManifest].model_dump_json())
    assert manifest.segmentation == SegmentationConfig()
    with pytest.raises(ValidationError, match="size_px"):
        DatasetCard.model_validate(DATASET.model_dump() | {"preparation": {"size_px": 100}})


def test_a_bundle_from_before_the_decoder_had_a_width_has_that_of_then() -> None:
    """Neither the card nor its parameters name it; both are read as the network that its weights are of."""
    content = MODEL.model_dump(mode="json")
    del content["decoder_filters"], content["model"]["decoder_filters"]
    card = ModelCard.model_validate(content)
    assert (card.decoder_filters, card.model.decoder_filters) == (256, 256)
    assert card.digest == MODEL.digest
    assert ModelCard.model_validate(MODEL.model_dump() | {"decoder_filters": 64}).decoder_filters == 64


def test_parameters_of_a_later_minor_version_are_read() -> None:
    """A group inside a file may hold fields this version does not know."""
    content = MODEL.model_dump(mode="json")
    content["training"]["field_of_1_1"] = 1
    assert ModelCard.model_validate(content) == MODEL
