"""Around a network's forward pass: fixed batches, and a second look at what was seen."""

from collections.abc import Callable

import numpy as np

from tasks.core.operating_point import CANDIDATE_LEVELS

Predict = Callable[[np.ndarray], np.ndarray]
"""From uint8 slices `(N, H, W)` to their lesion probabilities, uint8 of the same shape, in units of 1/255."""

MIRRORED_AXES = ((1,), (2,), (1, 2))
"""Of slices `(N, H, W)`: up-down, left-right, both."""

SEEN_LEVEL = CANDIDATE_LEVELS[0]
"""Below the lowest threshold that may be chosen, a slice's mask is empty whatever is chosen."""


def predict_in_batches(predict: Predict, images: np.ndarray, *, batch_size: int) -> np.ndarray:
    """Return the probabilities of any number of slices from a predictor of a fixed number.

    Args:
        predict: Takes `batch_size` slices.
        images: uint8 `(N, H, W)`; the last batch is filled up with empty slices.
        batch_size: Slices a call.
    """
    answer = np.empty_like(images)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        filled = np.zeros((batch_size, *images.shape[1:]), images.dtype)
        filled[: len(batch)] = batch
        answer[start : start + len(batch)] = predict(filled)[: len(batch)]
    return answer


def predict_with_flips(predict: Predict, images: np.ndarray) -> np.ndarray:
    """Return the mean over each slice and its three mirror images where the first look saw anything, else that look.

    As nnU-Net's mirroring (Isensee et al., 10.1038/s41592-020-01008-z), but for slices in which no pixel reaches
    `SEEN_LEVEL`: a second look at those was seen to change nothing but the time it takes (infra/decisions/0014).

    Args:
        predict: Takes any number of slices.
        images: uint8 `(N, H, W)`.
    """
    answer = predict(images)
    is_seen = (answer >= SEEN_LEVEL).any(axis=(1, 2))
    seen = images[is_seen]
    mirrored = predict(np.concatenate([np.flip(seen, axes) for axes in MIRRORED_AXES]))
    looks = [answer[is_seen]]
    for axes, look in zip(MIRRORED_AXES, np.split(mirrored, len(MIRRORED_AXES)), strict=True):
        looks.append(np.flip(look, axes))
    answer[is_seen] = np.rint(np.mean(looks, axis=0, dtype=np.float32))
    return answer
