"""Registry of the parameter groups: one `FormModel` each, for the form, the command line and YAML.

A field's unit stands in its title (the Prefect form shows it) and in its description (the command line shows that).
"""

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.evaluation import EvaluationConfig
from tasks.core.config.forms import FormModel
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.config.preparation import PreparationConfig
from tasks.core.config.segmentation import SegmentationConfig

PARAMETER_GROUPS: dict[str, type[FormModel]] = {
    "preparation": PreparationConfig,
    "augment": AugmentConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "segmentation": SegmentationConfig,
    "compute": ComputeConfig,
}
"""The groups by the name they have in flows, forms, flags and YAML."""
