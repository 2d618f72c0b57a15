"""A network of no numbers is refused before anything of it is published."""

import numpy as np
import pytest

from tasks.core.errors import ModelError
from tasks.engine.training.epoch_sums import check_numbers

FINE = {"epoch": 3, "train_loss": 0.5, "val_loss": None}


def test_numbers_pass() -> None:
    """Finite weights and losses are let by; so is a validation without any."""
    check_numbers(FINE, [np.ones(3), np.zeros((2, 2))])


@pytest.mark.parametrize(
    ("row", "weights", "sentence"),
    [
        (FINE, [np.ones(2), np.array([np.nan, 1, np.inf])], "diverged in epoch 3: 2 weights not finite"),
        (
            FINE | {"val_loss": float("nan")},
            [np.ones(2)],
            "3: 0 weights not finite, train_loss 0.5, val_loss nan",
        ),
        (FINE | {"train_loss": float("inf")}, [np.ones(2)], "train_loss inf"),
    ],
)
def test_no_numbers_end_the_training(row: dict[str, float], weights: list[np.ndarray], sentence: str) -> None:
    """The sentence says how many weights, which losses, and what to set."""
    with pytest.raises(ModelError, match=sentence) as caught:
        check_numbers(row, weights)
    assert "Set training.learning_rate lower" in str(caught.value)
