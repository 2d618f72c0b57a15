"""Around a network's forward pass: fixed batches, and a second look at what was seen."""

from collections.abc import Callable

import numpy as np

from tasks.core.operating_point import CANDIDATE_LEVELS

Predict = Callable[[np.ndarray], np.ndarray]
"""From uint8 slices `(N, H, W)` to their lesion probabilities, uint8 of the same shape, in units of 1/255."""

MIRRORED_AXES = ((1,), (2,), (1, 2))
"""Of slices `(N, H, W)`: up-down, left-right, both."""

SEEN_LEVEL = CANDIDATE_LEVELS[0]
"""A slice that nowhere reaches the lowest threshold that may be chosen has an empty mask, whichever is."""

SLICES_AT_ONCE = 128
"""Looked at again: a long volume would take many times its memory."""


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
    `SEEN_LEVEL`: looking at those again, too, was seen to take time and to improve nothing (infra/decisions/0014).

    Args:
        predict: Takes any number of slices.
        images: uint8 `(N, H, W)`.
    """
    answer = predict(images)
    seen = np.flatnonzero((answer >= SEEN_LEVEL).any(axis=(1, 2)))
    for start in range(0, len(seen), SLICES_AT_ONCE):
        group = seen[start : start + SLICES_AT_ONCE]
        mirrored = predict(np.concatenate([np.flip(images[group], axes) for axes in MIRRORED_AXES]))
        looks = [
            np.flip(look, axes)
            for axes, look in zip(MIRRORED_AXES, np.split(mirrored, len(MIRRORED_AXES)), strict=True)
        ]
        answer[group] = np.rint(np.mean([answer[group], *looks], axis=0, dtype=np.float32))
    return answer
