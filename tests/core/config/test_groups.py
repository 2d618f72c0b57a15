import re
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.forms import FormModel
from tasks.core.config.groups import PARAMETER_GROUPS
from tasks.core.config.learning import ModelConfig, TrainingConfig, require_start
from tasks.core.config.preparation import Fractions, PreparationConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.errors import ConfigError

FORMS: dict[str, type[FormModel]] = {**PARAMETER_GROUPS, "fractions": Fractions}
FIELDS = [(name, field) for name, form in FORMS.items() for field in form.model_fields]


def _schema(form: type[FormModel], field: str) -> dict[str, Any]:  # Any: a JSON schema
    """Return a field's schema; of an optional field, with the schema of its value merged in."""
    schema: dict[str, Any] = form.model_json_schema()["properties"][field]
    return schema | next((choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"), {})


@pytest.mark.parametrize("name", FORMS)
def test_form_defaults_obey_their_own_bounds(name: str) -> None:
    """Every group can be left untouched, and its defaults pass the checks that typed values must pass."""
    default = FORMS[name]()
    assert FORMS[name].model_validate(default.model_dump()) == default


@pytest.mark.parametrize("name", FORMS)
def test_form_travels_as_json(name: str) -> None:
    """A group written as JSON, as Prefect stores it, comes back equal."""
    default = FORMS[name]()
    assert FORMS[name].model_validate_json(default.model_dump_json()) == default


@pytest.mark.parametrize("name", FORMS)
def test_form_refuses_unknown_fields(name: str) -> None:
    """A misspelt parameter is refused instead of ignored."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        FORMS[name].model_validate({"no_such_field": 1})


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_form_cannot_change_under_a_run(name: str, field: str) -> None:
    """A parameter is fixed once it was read."""
    form = FORMS[name]()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(form, field, getattr(form, field))


@pytest.mark.parametrize("name", FORMS)
def test_form_shows_fields_in_declared_order(name: str) -> None:
    """Each field is numbered by its position in the source, because Prefect sorts the others alphabetically."""
    properties = FORMS[name].model_json_schema()["properties"]
    positions = {field: properties[field]["position"] for field in FORMS[name].model_fields}
    assert positions == {field: index for index, field in enumerate(FORMS[name].model_fields)}


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_field_explains_itself(name: str, field: str) -> None:
    """Every field has a title and a sentence, and the unit of the title is in the sentence too, for the CLI."""
    info = FORMS[name].model_fields[field]
    assert info.title is not None
    assert info.description is not None
    assert info.description.endswith(".")
    if unit := re.search(r"\((.+)\)$", info.title):
        assert unit.group(1).lower() in info.description.lower()


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_number_has_a_lower_bound(name: str, field: str) -> None:
    """No number of a form may be negative by oversight."""
    schema = _schema(FORMS[name], field)
    if schema.get("type") in ("integer", "number"):
        assert {"minimum", "exclusiveMinimum"} & schema.keys()


@pytest.mark.parametrize(
    "name", ["preparation", "augment", "model", "training", "evaluation", "segmentation", "compute"]
)
def test_groups_have_the_names_of_the_flags(name: str) -> None:
    """The groups are reachable under the names the command's contract promises."""
    assert name in PARAMETER_GROUPS


def test_training_gets_what_is_left() -> None:
    """Of the default, too: 70 of a hundred patients."""
    assert Fractions(val=0.125, test=0.25).train == 0.625
    assert Fractions().train == pytest.approx(0.7)


def test_fractions_are_read_from_a_list() -> None:
    """A list is read as [train, val, test]."""
    assert Fractions.model_validate([0.7, 0.2, 0.1]) == Fractions(val=0.2, test=0.1)
    assert PreparationConfig.model_validate({"fractions": (0.5, 0.25, 0.25)}).fractions.train == 0.5


@pytest.mark.parametrize("value", [[0.7, 0.3], [0.7, 0.2, 0.2], [0.25, 0.25, 0.25, 0.25]])
def test_fractions_that_do_not_add_up_are_refused(value: list[float]) -> None:
    """Three numbers that add up to 1 are asked for, with the numbers that were given."""
    with pytest.raises(ValidationError, match="add up to 1 are needed") as caught:
        Fractions.model_validate(value)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize("value", [{"val": 0.5, "test": 0.48}, [0.02, 0.49, 0.49], {"val": 0.9, "test": 0.9}])
def test_fractions_without_a_train_set_are_refused(value: object) -> None:
    """Hardly anything left for training is a mistake, said so."""
    with pytest.raises(ValidationError, match="for training"):
        Fractions.model_validate(value)


@pytest.mark.parametrize("value", [{"val": 0}, {"test": 0}, {"val": -0.1}, [1.2, -0.1, -0.1], [0.5, 0.5, 0.0]])
def test_fractions_of_nothing_are_refused(value: object) -> None:
    """Validation and test must get a share."""
    with pytest.raises(ValidationError, match="greater than 0"):
        Fractions.model_validate(value)


@pytest.mark.parametrize("size_px", [0, 16, 250, 1056])
def test_slice_size_must_suit_the_network(size_px: int) -> None:
    """Sizes the encoder cannot halve five times, or out of bounds, are refused."""
    with pytest.raises(ValidationError, match="size_px"):
        PreparationConfig(size_px=size_px)


def test_unknown_backbone_is_refused_with_the_closest() -> None:
    """The form gives the catalogue's own sentence."""
    with pytest.raises(ValidationError, match=r"Unknown backbone 'resnet_50'.*Closest: resnet50"):
        ModelConfig(backbone="resnet_50")


@pytest.mark.parametrize("pattern", [r"(?P<patient>\d+)", r"^(?P<patient>p\d+)_(?P<case>\d+)_(?P<slice>\d+)$", None])
def test_patient_pattern_is_taken_as_written(pattern: str | None) -> None:
    """A pattern with a patient group is taken unchanged; none means the known namings."""
    assert PreparationConfig(patient_id_pattern=pattern).patient_id_pattern == pattern


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(", "is not a regular expression"),
        (r"(\d+)", r"has the named groups \[\]"),
        (r"(?P<pat>\d+)_(?P<slice>\d+)", r"has the named groups \['pat', 'slice'\]"),
        ("", "it needs"),
    ],
)
def test_patient_pattern_that_names_no_patient_is_refused(pattern: str, sentence: str) -> None:
    """A pattern that cannot tell patients apart is refused, with the groups it does have."""
    with pytest.raises(ValidationError, match=sentence):
        PreparationConfig(patient_id_pattern=pattern)


@pytest.mark.parametrize(
    ("form", "field", "value"),
    [
        (PreparationConfig, "strategy", "random"),
        (PreparationConfig, "mask_rule", "any"),
        (ModelConfig, "architecture", "transformer"),
        (ModelConfig, "encoder_weights_sha256", "abc"),
        (ModelConfig, "encoder_weights_sha256", "A" * 64),
        (TrainingConfig, "loss", "mse"),
        (TrainingConfig, "precision", "int8"),
        (TrainingConfig, "learning_rate", 0),
        (TrainingConfig, "threshold", 1.0),
        (TrainingConfig, "gpus_per_worker", 17),
        (TrainingConfig, "folds", 0),
        (TrainingConfig, "stall_minutes", 0),
        (SegmentationConfig, "threshold", 0.0),
        (SegmentationConfig, "min_lesion_px", -1),
        (AugmentConfig, "zoom", 1.0),
        (AugmentConfig, "noise", float("nan")),
        (ComputeConfig, "ray_address", None),
        (ComputeConfig, "ray_address", "cluster"),
        (ComputeConfig, "ray_address", "ray://head:10001"),
    ],
)
def test_value_out_of_bounds_is_refused_by_name(form: type[FormModel], field: str, value: object) -> None:
    """What cannot work is refused before anything starts, naming the field."""
    with pytest.raises(ValidationError, match=field):
        form.model_validate({field: value})


@pytest.mark.parametrize(
    "address", ["", "auto", "http://head:8265", "https://ray.example/x", "head:6379", "[::1]:6379"]
)
def test_every_way_to_name_a_cluster_is_taken(address: str) -> None:
    """This machine, the cluster that this node belongs to, a head's Jobs API, and a head."""
    assert ComputeConfig(ray_address=address).ray_address == address


def test_unknown_is_none_not_a_sentinel() -> None:
    """What is left to the bundle is None, so that 0 can be asked for."""
    assert SegmentationConfig().threshold is None
    assert SegmentationConfig().min_lesion_px is None
    assert SegmentationConfig(min_lesion_px=0).min_lesion_px == 0


def test_fractions_may_leave_exactly_the_least_train_set() -> None:
    """Five percent left for training is enough, whatever binary fractions make of it."""
    assert Fractions(val=0.5, test=0.45).train == pytest.approx(0.05)


@pytest.mark.parametrize("value", [["a", 1, 2], [None, None, None]])
def test_fractions_that_are_no_numbers_are_bad_parameters(value: list[object]) -> None:
    """A list of words is refused like any other bad parameter."""
    with pytest.raises(ValidationError):
        Fractions.model_validate(value)


def test_settle_time_is_finite() -> None:
    """Infinity, which JSON cannot hold, is refused."""
    with pytest.raises(ValidationError):
        SegmentationConfig(settle_minutes=float("inf"))


def test_a_cleared_start_means_no_bundle() -> None:
    """An emptied field of a form is the same as one that was never filled."""
    assert ModelConfig(start_from="").start_from is None
    require_start(ModelConfig(start_from=""), TrainingConfig(folds=3))
    with pytest.raises(ConfigError, match="freeze_batchnorm"):
        require_start(ModelConfig(start_from=""), TrainingConfig(freeze_batchnorm=True))
