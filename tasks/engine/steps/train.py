"""Step train: trains one network or an ensemble, chooses the operating point, and publishes the bundle."""

import logging
import uuid

from tasks.core.catalog import SPLITS
from tasks.core.handles import ModelHandle
from tasks.core.pictures.figures import training_curves
from tasks.core.schemas import ModelCard
from tasks.core.step_inputs import TrainRequest
from tasks.core.throughput import ReportProgress
from tasks.engine.inference.self_tests import make_self_tests
from tasks.engine.training.ensemble import TrainedNetworks
from tasks.engine.training.folds import folds_of
from tasks.engine.training.supervisor import train_all
from tasks.io import output_lock
from tasks.io.checkpoints import Checkpoints
from tasks.io.outputs import bundles, datasets
from tasks.io.outputs.ownership import claim
from tasks.stages.first_weights import FirstWeights
from tasks.stages.model_card import draft_card

logger = logging.getLogger(__name__)


def train(request: TrainRequest, report_progress: ReportProgress = lambda _: None) -> ModelHandle:
    """Train, choose the operating point on the validation patients, and publish the bundle.

    A killed run that is restarted with the same request continues after its last finished epoch.

    Args:
        request: Input of the step.
        report_progress: Called with the progress within epochs.

    Raises:
        ConfigError: If no dataset is there, or it holds fewer patients than folds.
        LockedError: If another running flow trains the same bundle.
        ModelError: If weights cannot be read or used.
        ClusterError: If Ray lost the workers more often than `max_restarts`.
    """
    dataset = datasets.read_card(request.dataset_uri)
    datasets.require_whole(request.dataset_uri, dataset, SPLITS)
    first = FirstWeights.read(request.model)
    claim(request.model_uri, "bundle")
    with output_lock.held(request.model_uri, f"train-{uuid.uuid4().hex[:12]}") as held:
        folds = folds_of(request, dataset, first)
        train_all([fold.run for fold in folds], held, report_progress)
        trained = TrainedNetworks.of(folds, request.training)
        held.check()
        card = draft_card(
            request,
            dataset,
            parent=first.parent.card if first.parent else None,
            outputs=folds[0].run.outputs,
            outcome=trained.outcome,
            members=trained.members,
        )
        return _publish(request.model_uri, card, trained)


def _publish(model_uri: str, card: ModelCard, trained: TrainedNetworks) -> ModelHandle:
    """Publish weights, self-tests, history and curves, then the card; then remove the checkpoints."""
    outcome = trained.outcome
    files = dict(zip(card.weights_files, trained.weights, strict=True))
    files |= make_self_tests(card, trained.weights)
    files |= {member.history_file: each.to_csv() for member, each in zip(card.members, trained.outcomes, strict=False)}
    files |= {bundles.HISTORY_FILE: outcome.to_csv()}
    files |= {f"{bundles.CURVES_FOLDER}/{name}.png": png for name, png in training_curves(outcome.history).items()}
    for warning in card.warnings:
        logger.warning("train: %s", warning)
    card = card.model_copy(update={"files": bundles.publish_files(model_uri, files)})
    bundles.publish_card(model_uri, card)
    bundles.remove_stale(model_uri, card)
    Checkpoints.remove_all(model_uri)
    return ModelHandle(uri=model_uri, fingerprint=card.digest)
