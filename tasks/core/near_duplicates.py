"""Near-duplicate slices of different patients: the same slice again, resized, windowed, flipped, turned or compressed.

Two slices are compared by the correlation of what is bright and dark beside its surroundings, at 48 x 48 px: windows,
gamma and equalisation keep that, other anatomy has it elsewhere. In the public scans it is 0.59 at most between slices
of different patients (2.0 million pairs), and 0.9 and more between a slice and 99 of 100 of its changed copies
(infra/docs/accuracy.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

THUMBNAIL_PX = 48
MIN_SIMILARITY = 0.9
"""Correlation from which two slices are near-duplicates. The phantoms, all of one simple anatomy, reach 0.898."""

SURROUNDINGS_PX = 2.0
"""Standard deviation of the Gaussian whose mean and spread are a pixel's surroundings."""
NOISE_LEVEL = 1.0
"""Spread, of 255, below which surroundings are flat, so that noise and compression do not count as structure."""
VISIBLE_LEVELS = 8
MIN_BODY_SHARE = 0.1
"""Share of a slice that must differ from its median by more than `VISIBLE_LEVELS` of 255 to be compared."""
N_CANDIDATES = 20
"""Nearest other slices that are compared; 99.7 % of the changed copies of public slices are among them."""
N_FREQUENCIES = 12
"""Frequencies per axis of the cosine transform by which candidates are found, as in perceptual hashes."""
BLOCK = 128
"""Slices whose likeness to all others is held at once: 0.4 GB with 100,000 slices and eight orientations."""
N_ORIENTATIONS = 8


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two slices of different patients that are nearly the same.

    Attributes:
        first: Index of the one.
        second: Index of the other, larger.
        similarity: Correlation, up to 1.
    """

    first: int
    second: int
    similarity: float


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return a slice, uint8 `(H, W)`, as uint8 `(48, 48)`."""
    return np.asarray(cv2.resize(image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA))


def find_near_duplicates(thumbnails: np.ndarray, patients: Sequence[str]) -> list[NearDuplicate]:
    """Return the near-duplicates among slices of different patients.

    Neighbouring slices of a patient are alike and never compared. Of slices that resemble several of one patient, such
    as a copy and the neighbours of its original, only those that are each other's nearest are a pair.

    Args:
        thumbnails: uint8 `(N, 48, 48)`.
        patients: Patient of each.
    """
    structure = np.array([_structure(one) for one in thumbnails], np.float32).reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)
    numbers = np.unique(list(patients), return_inverse=True)[1]
    structure[~_shows_a_body(thumbnails)] = 0  # burnt-in rulers and letters are the same for many patients
    nearest: dict[tuple[int, int], tuple[float, int]] = {}
    for one, other, orientation in _candidates(structure, numbers):
        similarity = float(np.vdot(_turned(structure[one], orientation), structure[other]))
        if similarity < MIN_SIMILARITY:
            continue
        for index, partner in ((one, other), (other, one)):
            key = index, int(numbers[partner])
            nearest[key] = max(nearest.get(key, (0.0, -1)), (similarity, partner))
    return [
        NearDuplicate(one, other, similarity)
        for (one, _), (similarity, other) in sorted(nearest.items())
        if one < other and nearest[other, int(numbers[one])][1] == one
    ]


def _candidates(structure: np.ndarray, patients: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield pairs of slices of different patients that look alike, and the orientation of the first of them."""
    turned = [_low_frequencies(structure, orientation) for orientation in range(N_ORIENTATIONS)]
    upright, n_taken = turned[0], min(N_CANDIDATES, len(structure))
    for start in range(0, len(upright), BLOCK):
        block = slice(start, start + BLOCK)
        likeness = np.stack([descriptors[block] @ upright.T for descriptors in turned])
        best, orientation = likeness.max(axis=0), likeness.argmax(axis=0)
        best[patients[block, np.newaxis] == patients] = -np.inf
        taken = np.argpartition(-best, n_taken - 1, axis=1)[:, :n_taken]
        for row, others in enumerate(taken):
            for other in others[np.isfinite(best[row, others])]:
                yield start + row, int(other), int(orientation[row, other])


def _shows_a_body(thumbnails: np.ndarray) -> np.ndarray:
    """Return whether enough of each slice differs from its most frequent value, bool `(N,)`."""
    flat = thumbnails.reshape(-1, THUMBNAIL_PX**2).astype(np.int16)
    usual = np.median(flat, axis=1, keepdims=True)
    return np.asarray((np.abs(flat - usual) > VISIBLE_LEVELS).mean(axis=1) >= MIN_BODY_SHARE)


def _structure(pixels: np.ndarray) -> np.ndarray:
    """Return how much brighter each pixel is than its surroundings, relative to their spread; float32, of length 1."""
    values = pixels.astype(np.float32)
    difference = values - _around(values)
    relative = difference / np.sqrt(_around(difference**2) + NOISE_LEVEL**2)
    relative -= relative.mean()
    return np.asarray(relative / max(float(np.linalg.norm(relative)), 1e-6))


def _around(values: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), SURROUNDINGS_PX))


def _low_frequencies(structure: np.ndarray, orientation: int) -> np.ndarray:
    """Return the low frequencies of each slice in an orientation, float32 `(N, 144)` of length 1."""
    transforms = (cv2.dct(_turned(one, orientation)) for one in structure)
    low = np.array([found[:N_FREQUENCIES, :N_FREQUENCIES].ravel() for found in transforms], np.float32)
    low = low.reshape(len(structure), N_FREQUENCIES**2)
    return np.asarray(low / np.maximum(np.linalg.norm(low, axis=1, keepdims=True), 1e-6))


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return a square array in one of the eight orientations of a square; 0 leaves it as it is."""
    turned = np.rot90(pixels, orientation % 4)
    return np.ascontiguousarray(turned.T if orientation >= 4 else turned)
