"""Inputs of steps, as JSON, so that a step can run in this process or as a job on a cluster."""

from tasks.core.catalog import Scored
from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.config.preparation import PreparationConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.handles import SourceHandle
from tasks.core.record import Record


class PrepareRequest(Record):
    """Input of `prepare`: write the dataset of a split source."""

    source: SourceHandle
    source_uri: str
    dataset_uri: str
    preparation: PreparationConfig


class TrainRequest(Record):
    """Input of `train`: train a bundle on a dataset."""

    dataset_uri: str
    model_uri: str
    model: ModelConfig
    training: TrainingConfig
    augment: AugmentConfig


class EvaluateRequest(Record):
    """Input of `evaluate`: score a bundle on one split of a dataset."""

    model_uri: str
    dataset_uri: str
    report_uri: str
    split: Scored
    compare_with: str | None = None


class SegmentRequest(Record):
    """Input of `segment`: segment every scan below a URI."""

    model_uri: str
    scans_uri: str
    output_uri: str
    segmentation: SegmentationConfig
    run_id: str
    n_gpus: int = 0
    price_per_node_hour: float | None = None
