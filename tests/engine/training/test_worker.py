"""What one worker publishes of an epoch, and what it refuses to."""

import numpy as np
import pytest

from tasks.core.errors import ModelError
from tasks.engine.network.model import ARCHITECTURES, build_model, weights_to_bytes
from tasks.engine.training.watchdog import Watchdog
from tasks.engine.training.worker import TrainingState, WorkerSettings
from tests.conftest import MODEL, TRAINING
from tests.engine.network.tiny import tiny

pytestmark = pytest.mark.tf


class NoPlace:
    """Where nothing may be put."""

    def publish(self, *_: object) -> None:
        """Refuse."""
        raise AssertionError("published")


def test_a_training_without_numbers_publishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are no numbers would give empty masks, as of healthy patients: the run ends and says what to set."""
    monkeypatch.setitem(ARCHITECTURES, MODEL.architecture, tiny)
    network = build_model(MODEL.architecture, MODEL.backbone, decoder_filters=MODEL.decoder_filters)
    first = network.get_layer("stage0_conv")
    first.set_weights([np.full_like(value, np.nan) for value in first.get_weights()])
    settings = WorkerSettings(
        model=MODEL,
        training=TRAINING,
        n_outputs=1,
        n_epochs=2,
        steps_per_epoch=1,
        encoder_weights=None,
        first_weights=weights_to_bytes(network),
        checkpoints=NoPlace(),  # type: ignore[arg-type]
        checkpoint=None,
        keeps_last=False,
        journal=None,  # type: ignore[arg-type]
    )
    state = TrainingState(settings, 1, Watchdog(60))
    row = {"epoch": 1, "train_loss": 0.0, "val_loss": 0.0}  # ReLU hides what is no number
    with pytest.raises(ModelError, match=r"diverged in epoch 1: [1-9][0-9,]* weights not finite"):
        state._publish(row, is_better=True, is_over=True)
