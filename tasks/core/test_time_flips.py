"""Prediction in batches of a fixed size, and test-time flips."""

from collections.abc import Callable

import numpy as np

from tasks.core.operating_rules import CANDIDATE_LEVELS

Predict = Callable[[np.ndarray], np.ndarray]
"""Function from uint8 slices `(N, H, W)` to the probabilities of each output, uint8 `(n_outputs, N, H, W)`, in units of
1/255; the lesion is the first."""

MIRRORED_AXES = ((1,), (2,), (1, 2))
"""Mirrored axes of slices `(N, H, W)`: up-down, left-right, both."""

MIN_LEVEL = CANDIDATE_LEVELS[0]
"""Lowest threshold that may be chosen; a slice that never reaches it has an empty mask without flips."""

SLICES_AT_ONCE = 128
"""Number of slices that are mirrored at once, to bound the memory of a long volume."""


def predict_in_batches(predict: Predict, images: np.ndarray, *, batch_size: int) -> np.ndarray:
    """Return the probabilities of any number of slices from a predictor with a fixed batch size.

    Args:
        predict: Takes `batch_size` slices.
        images: uint8 `(N, H, W)`; the last batch is padded with empty slices.
        batch_size: Slices per call.
    """
    batches = []
    for start in range(0, max(len(images), 1), batch_size):
        batch = images[start : start + batch_size]
        filled = np.zeros((batch_size, *images.shape[1:]), images.dtype)
        filled[: len(batch)] = batch
        batches.append(predict(filled)[:, : len(batch)])
    return np.concatenate(batches, axis=1)


def predict_with_flips(predict: Predict, images: np.ndarray) -> np.ndarray:
    """Return the mean probabilities over each slice and its three mirror images (test-time augmentation).

    As in nnU-Net (Isensee et al., 10.1038/s41592-020-01008-z), but slices in which no pixel may be
    lesion by `MIN_LEVEL` are not mirrored: that costs time and improved nothing (infra/decisions/0014).

    Args:
        predict: Takes any number of slices.
        images: uint8 `(N, H, W)`.
    """
    probability = predict(images)
    seen = np.flatnonzero((probability[0] >= MIN_LEVEL).any(axis=(1, 2)))
    for start in range(0, len(seen), SLICES_AT_ONCE):
        group = seen[start : start + SLICES_AT_ONCE]
        mirrored = predict(np.concatenate([np.flip(images[group], axes) for axes in MIRRORED_AXES]))
        mirrored_back = [
            np.flip(part, tuple(axis + 1 for axis in axes))
            for axes, part in zip(MIRRORED_AXES, np.split(mirrored, len(MIRRORED_AXES), axis=1), strict=True)
        ]
        probability[:, group] = np.rint(np.mean([probability[:, group], *mirrored_back], axis=0, dtype=np.float32))
    return probability
