"""Recipes: parameters of a training by name, as differences from the defaults."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig

Differences = dict[str, dict[str, Any]]  # Any: values of parameters
"""Parameters by group and name."""

FIRST_AUGMENT = {
    "quarter_turns": 0,
    "shear_degrees": 5,
    "zoom": 0.15,
    "zoom_in": 0,
    "tone_curve": 0,
    "contrast": 0.2,
    "equalisation": 0,
    "blur": 0,
    "noise": 0.02,
    "jpeg": 0,
}
"""Augmentation of version 0.1.0, where it differs."""
LITTLE_NOISE = {"noise": 0.03, "equalisation": 0.15, "blur": 0.15}
"""First strengths of what scanners and exports do; all its results but that of the second fold were
trained with noise after equalisation."""
CLASSIC = Path(__file__).parents[3] / "infra" / "presets" / "classic.yaml"
"""Preset of the original brief."""
ORIGINAL_AUGMENT = yaml.safe_load(CLASSIC.read_text())["augment"]
FIRST_MODEL = {
    "backbone": "resnet34",
    "decoder_filters": 256,
    "encoder_weights": "none",
    "intensity_rule": "slice_8bit",
}
"""Network of version 0.1.0, from random weights."""


def _screened(**differences: dict[str, Any]) -> Differences:  # Any: as above
    """Return a recipe of four epochs: enough to compare levers that change what is learned."""
    return differences | {"training": {"epochs": 4} | differences.get("training", {})}


RECIPES: dict[str, Differences] = {
    "defaults": {},
    "lung-contrast": {"augment": {"lung_contrast": 1.0}},
    "contrast": {"training": {"epochs": 64}, "augment": {"zoom": 0.45, "lung_contrast": 1.0}},
    "screen-contrast": _screened(augment={"lung_contrast": 1.0}),
    "wide-zoom": {"training": {"epochs": 64}, "augment": {"zoom": 0.45}},
    "screen-wide-zoom": _screened(augment={"zoom": 0.45}),
    "64-epochs": {"training": {"epochs": 64}},
    "batch-8": {"training": {"batch_size": 8}},
    "little-noise": {"augment": LITTLE_NOISE},
    "first": {"model": FIRST_MODEL, "training": {"epochs": 10, "lung_weight": 0}, "augment": FIRST_AUGMENT},
    "original-augment": {"augment": ORIGINAL_AUGMENT},
    "original-augment-48": {"augment": ORIGINAL_AUGMENT, "training": {"epochs": 48}},
    "screen": _screened(),
    "screen-tones": _screened(augment={"tone_curve": 0.1, "brightness": 0.1, "contrast": 0.2}),
    "screen-no-lung": _screened(training={"lung_weight": 0}),
    "screen-cropped": _screened(),
    "screen-little-noise": _screened(augment=LITTLE_NOISE),
    "screen-more-noise": _screened(augment={"noise": 0.2, "equalisation": 0.6}),
    "screen-batch-8": _screened(training={"batch_size": 8}),
    "screen-cropped-less-zoom": _screened(augment={"zoom_in": 0.3}),
    "screen-tversky": _screened(training={"loss": "bce_tversky"}),
    "screen-as-stored": _screened(model={"intensity_rule": "slice_8bit"}, augment=LITTLE_NOISE),
    "screen-first-augment": _screened(augment=FIRST_AUGMENT),
    "screen-random-weights": _screened(model={"encoder_weights": "none"}),
    "screen-no-slice-statistics": _screened(model={"slice_statistics": 0}),
}

CROPPED = {"screen-cropped", "screen-cropped-less-zoom"}
"""Recipes whose slices are cropped to the lungs (views.py)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Parameters of a training.

    Attributes:
        model: Network.
        training: Optimisation.
        augment: Augmentation.
        is_cropped: Whether slices are cropped to the lungs, which the product does not do.
    """

    model: ModelConfig
    training: TrainingConfig
    augment: AugmentConfig
    is_cropped: bool = False

    @classmethod
    def named(cls, name: str, *, seed: int) -> "Recipe":
        """Return the recipe of a name, with a seed."""
        differences = RECIPES[name]
        training = differences.get("training", {}) | {"seed": seed}
        return cls(
            ModelConfig.model_validate(differences.get("model", {})),
            TrainingConfig.model_validate(training),
            AugmentConfig.model_validate(differences.get("augment", {})),
            is_cropped=name in CROPPED,
        )
