import numpy as np
import pytest
import tensorflow as tf

from tasks.core.catalog import Loss
from tasks.engine.losses import LOSSES, bce_loss, dice_loss, total_of_one

pytestmark = pytest.mark.tf

SURE = 20.0


def _slices(*values: list[float]) -> tf.Tensor:
    return tf.constant(np.array(values, np.float32).reshape(len(values), 1, -1, 1))


def _loss(name: str, logits: tf.Tensor, reference: tf.Tensor, weights: list[float] | None = None) -> float:
    weighed = tf.constant(weights or [1.0] * len(logits))
    return float(LOSSES[name](logits, reference, weighed, total_of_one))


def test_registry_holds_every_loss_a_form_offers() -> None:
    """What can be chosen can be computed, and the other way round."""
    assert set(LOSSES) == set(Loss.__args__)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_least_for_the_truth(name: str) -> None:
    """A batch predicted rightly costs nearly nothing, a wrong one more."""
    reference = _slices([1, 1, 0, 0])
    assert _loss(name, _slices([SURE, SURE, -SURE, -SURE]), reference) == pytest.approx(0, abs=1e-5)
    assert _loss(name, _slices([-SURE, -SURE, SURE, SURE]), reference) > 0.5


@pytest.mark.parametrize("name", LOSSES)
def test_padding_does_not_count(name: str) -> None:
    """A slice of weight 0 changes nothing, whatever it holds."""
    right, wrong = [SURE, -1.0, -SURE, 2.0], [-SURE, -SURE, SURE, SURE]
    alone = _loss(name, _slices(right), _slices([1, 1, 0, 0]))
    padded = _loss(name, _slices(right, wrong), _slices([1, 1, 0, 0], [1, 1, 0, 0]), [1.0, 0.0])
    assert padded == pytest.approx(alone)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_two_halves_add_up_to_the_whole(name: str) -> None:
    """When two workers each hold half a batch and know the other's sums, their gradients add up to the batch's."""
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(4, 3, 3, 1)).astype(np.float32))
    reference = tf.constant((rng.random((4, 3, 3, 1)) > 0.6).astype(np.float32))
    weights = tf.constant([1.0, 1.0, 1.0, 0.0])

    def gradient(rows: slice, total) -> np.ndarray:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = LOSSES[name](logits[rows], reference[rows], weights[rows], total)
        return tape.gradient(loss, logits).numpy()

    def sums_of(rows: slice) -> list[tf.Tensor]:
        seen: list[tf.Tensor] = []
        LOSSES[name](logits[rows], reference[rows], weights[rows], lambda local: seen.append(local) or local)
        return seen

    def with_the_other(others: list[tf.Tensor]):
        remaining = iter(others)
        return lambda local: local + tf.stop_gradient(next(remaining))

    first, second = slice(0, 2), slice(2, 4)
    halves = gradient(first, with_the_other(sums_of(second))) + gradient(second, with_the_other(sums_of(first)))
    np.testing.assert_allclose(halves, gradient(slice(0, 4), total_of_one), rtol=1e-5, atol=1e-7)


def test_bce_is_log_two_at_even_odds() -> None:
    """A logit of zero costs ln 2 whatever the truth is."""
    loss = bce_loss(_slices([0.0, 0.0]), _slices([0, 1]), tf.constant([1.0]), total_of_one)
    assert float(loss) == pytest.approx(np.log(2))


def test_dice_loss_by_hand() -> None:
    """Pooled over two slices, two of three predicted pixels right, of two lesion pixels: 1 - (2·2 + 1)/(3 + 2 + 1)."""
    logits = _slices([SURE, SURE, SURE, -SURE], [-SURE, -SURE, -SURE, -SURE])
    loss = dice_loss(logits, _slices([1, 1, 0, 0], [0, 0, 0, 0]), tf.constant([1.0, 1.0]), total_of_one)
    assert float(loss) == pytest.approx(1 - 5 / 6, abs=1e-5)


def test_dice_loss_of_an_empty_batch_is_zero_when_nothing_is_predicted() -> None:
    """Lesion-free slices left alone cost nothing."""
    loss = dice_loss(_slices([-SURE, -SURE]), _slices([0, 0]), tf.constant([1.0]), total_of_one)
    assert float(loss) == pytest.approx(0, abs=1e-6)
