"""Card of a bundle, from the outcome of its training."""

from datetime import UTC, datetime
from typing import Any

from tasks.core import numbers
from tasks.core.addresses import shown_uri
from tasks.core.catalog import Output
from tasks.core.config.learning import TrainingConfig
from tasks.core.drift import joined
from tasks.core.history import TrainingOutcome
from tasks.core.intervals import summary_of
from tasks.core.metrics import METRICS, score
from tasks.core.operating_point import OperatingPoint
from tasks.core.operating_rules import USUAL_THRESHOLD
from tasks.core.patient_metrics import RANGES
from tasks.core.plural import counted
from tasks.core.postprocess import probability_level
from tasks.core.schemas import DatasetCard, EnsembleMember, ModelCard
from tasks.core.step_inputs import TrainRequest
from tasks.io.versions import code_version, library_versions


def outputs_of(training: TrainingConfig, n_lung_masks: int, *, parent: ModelCard | None) -> tuple[Output, ...]:
    """Return the outputs of a network: with the lung where it can be learned; fine-tuning changes none.

    Args:
        training: Parameters of the training.
        n_lung_masks: Slices with a lung mask that the network is trained on.
        parent: Card of the bundle that is fine-tuned.
    """
    if parent:
        return parent.outputs
    return ("lesion", "lung") if n_lung_masks and training.lung_weight else ("lesion",)


def draft_card(
    request: TrainRequest,
    dataset: DatasetCard,
    *,
    parent: ModelCard | None,
    outputs: tuple[Output, ...],
    outcome: TrainingOutcome,
    members: tuple[EnsembleMember, ...],
) -> ModelCard:
    """Return the card of a bundle whose files are not published yet.

    Args:
        request: Input of the training.
        dataset: Card of the dataset.
        parent: Card of the bundle that was fine-tuned.
        outputs: Outputs of its networks.
        outcome: Outcome of the training, of all folds together.
        members: Networks of an ensemble.
    """
    point = outcome.operating_point(request.training)
    return ModelCard(
        architecture=request.model.architecture,
        backbone=request.model.backbone,
        outputs=outputs,
        decoder_filters=request.model.decoder_filters,
        input_size_px=dataset.size_px,
        intensity_rule=request.model.intensity_rule,
        hu=dataset.preparation.hu,
        threshold=point.threshold,
        threshold_choice=_choice(request, point),
        operating_point=request.training.operating_point if point.reason else None,
        operating_curve=point.curve,
        min_lesion_px=point.min_lesion_px,
        slice_statistics=request.model.slice_statistics,
        z_smoothing=request.training.z_smoothing,
        test_time_flips=point.flips,
        dataset_uri=shown_uri(request.dataset_uri),
        dataset_fingerprint=dataset.fingerprint,
        n_slices_by_split=dataset.n_slices_by_split,
        sources=dataset.sources,
        model=request.model,
        training=request.training,
        augment=request.augment,
        parent_digest=parent.digest if parent else None,
        best_epoch=outcome.best_epoch,
        validation=outcome.best_validation,
        validation_mean=_validation_mean(outcome, point),
        appearance=joined(parent.appearance if parent else None, dataset.appearance),
        quality=outcome.quality.calibrations(),
        versions=library_versions(),
        code_version=code_version(),
        trained_at=datetime.now(UTC),
        files={},
        members=members,
        warnings=tuple(dict.fromkeys((*dataset.warnings, *_warnings(dataset, parent, point)))),
    )


def _validation_mean(outcome: TrainingOutcome, point: OperatingPoint) -> dict[str, Any]:  # Any: see the record
    """Return the summary of every metric over the validation patients, at the operating point."""
    histograms = outcome.flipped if point.flips else outcome.histograms
    level = probability_level(point.threshold)
    scores = [score(histogram.counts_at(level)) for histogram in histograms.values()]
    if not scores:
        return {}
    return {name: summary_of([of_one[name] for of_one in scores], within=RANGES.get(name)) for name in METRICS}


def _choice(request: TrainRequest, point: OperatingPoint) -> str:
    """Return how the operating point was chosen, as a sentence."""
    kind = "held-out patient" if request.training.folds > 1 else "validation patient"
    is_set = request.training.threshold is not None
    if point.mean_dice is None:
        source = "set by training.threshold" if is_set else f"default of {USUAL_THRESHOLD}"
        return f"{source}, because no {kind} has lesions"
    on = f"{counted(point.n_patients, kind)}, mean Dice {numbers.score(point.mean_dice)}"
    threshold = f"set by training.threshold; on {on}" if is_set else point.reason.format(patients=on)
    if point.dice_otherwise is None:
        return threshold
    with_or_without, otherwise = ("with", "without") if point.flips else ("without", "with")
    return f"{threshold}; {with_or_without} flips ({otherwise} them {numbers.score(point.dice_otherwise)})"


def _warnings(dataset: DatasetCard, parent: ModelCard | None, point: OperatingPoint) -> list[str]:
    """Return warnings about the scores of this bundle."""
    warnings = [f"the bundle it started from: {warning}" for warning in parent.warnings] if parent else []
    if parent and parent.dataset_fingerprint != dataset.fingerprint:
        warnings.append(
            "started from a bundle of another dataset, which may have been trained on this dataset's validation or "
            "test patients"
        )
    if parent and "lung" in parent.outputs and not dataset.n_lung_masks:
        warnings.append("the dataset has no lung masks: the lung output was not trained on it and may be worse")
    if point.mean_dice is None:
        warnings.append("no validation patient has lesions: epoch, threshold and flips are defaults")
    if point.unmet:
        warnings.append(f"the operating point does not keep what training.operating_point asks for: {point.unmet}")
    return warnings
