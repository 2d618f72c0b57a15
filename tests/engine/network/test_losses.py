import numpy as np
import pytest
import tensorflow as tf

from tasks.core.catalog import Loss
from tasks.engine.network.losses import LOSSES, bce_loss, dice_loss, tversky_loss

pytestmark = pytest.mark.tf

SURE = 20.0


def _slices(*values: list[float]) -> tf.Tensor:
    return tf.constant(np.array(values, np.float32).reshape(len(values), 1, -1, 1))


def test_registry_holds_every_loss_a_form_offers() -> None:
    """What can be chosen can be computed, and the other way round."""
    assert set(LOSSES) == set(Loss.__args__)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_one_value_a_slice_least_for_the_truth(name: str) -> None:
    """A slice predicted rightly costs nearly nothing, a wrong one more, and slices do not mix."""
    reference = _slices([1, 1, 0, 0], [1, 1, 0, 0])
    right, wrong = [SURE, SURE, -SURE, -SURE], [-SURE, -SURE, SURE, SURE]
    losses = LOSSES[name](_slices(right, wrong), reference).numpy()
    assert losses.shape == (2,)
    assert losses[0] == pytest.approx(0, abs=1e-5)
    assert losses[1] > 0.5
    alone = LOSSES[name](_slices(wrong), reference[1:]).numpy()
    assert losses[1] == pytest.approx(alone[0])


def test_bce_is_log_two_at_even_odds() -> None:
    """A logit of zero costs ln 2 whatever the truth is."""
    loss = bce_loss(_slices([0.0, 0.0]), _slices([0, 1])).numpy()
    assert loss[0] == pytest.approx(np.log(2))


def test_dice_loss_by_hand() -> None:
    """Two of three predicted pixels right, of two lesion pixels: 1 - (2·2 + 1)/(3 + 2 + 1)."""
    loss = dice_loss(_slices([SURE, SURE, SURE, -SURE]), _slices([1, 1, 0, 0])).numpy()
    assert loss[0] == pytest.approx(1 - 5 / 6, abs=1e-5)


def test_tversky_loss_by_hand() -> None:
    """One of two lesion pixels found and two false ones: missed weighs 0.7, false 0.3, smoothing 1."""
    loss = tversky_loss(_slices([SURE, -SURE, SURE, SURE]), _slices([1, 1, 0, 0])).numpy()
    assert loss[0] == pytest.approx(1 - 2 / (1 + 0.7 * 1 + 0.3 * 2 + 1), abs=1e-5)


def test_dice_loss_of_an_empty_slice_is_zero_when_nothing_is_predicted() -> None:
    """A lesion-free slice left alone costs nothing."""
    loss = dice_loss(_slices([-SURE, -SURE]), _slices([0, 0])).numpy()
    assert loss[0] == pytest.approx(0, abs=1e-6)
