"""The same slice under two patients is found however it was changed; other slices are not."""

import cv2
import numpy as np
import pytest

from tasks.core.near_duplicates import find_near_duplicates, thumbnail
from tests.anatomy import anatomy

SIDE_PX = 128
N_PATIENTS, N_SLICES = 6, 4
SLICES = [anatomy(patient, number, size_px=SIDE_PX) for patient in range(N_PATIENTS) for number in range(N_SLICES)]
PATIENTS = [f"patient_{index // N_SLICES}" for index in range(len(SLICES))]


def _windowed(image: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((image.astype(np.float32) - low) * 255 / (high - low), 0, 255).astype(np.uint8)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))


CHANGES = {
    "same": lambda image: image,
    "larger": lambda image: cv2.resize(image, (300, 300), interpolation=cv2.INTER_LINEAR),
    "smaller": lambda image: cv2.resize(image, (70, 70), interpolation=cv2.INTER_AREA),
    "windowed": lambda image: _windowed(image, 20, 190),
    "gamma": lambda image: np.rint(255 * (image / 255.0) ** 0.6).astype(np.uint8),
    "equalised": lambda image: cv2.createCLAHE(2.0, (8, 8)).apply(image),
    "jpeg": lambda image: _compressed(image, 30),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "upside down": lambda image: np.ascontiguousarray(image[::-1]),
    "turned": lambda image: np.ascontiguousarray(np.rot90(image)),
    "transposed": lambda image: np.ascontiguousarray(image.T),
    "all": lambda image: _compressed(cv2.resize(_windowed(image[:, ::-1], 10, 200), (200, 200)), 40),
}


def _pairs(images: list[np.ndarray], patients: list[str]) -> set[tuple[int, int]]:
    found = find_near_duplicates(np.stack([thumbnail(image) for image in images]), patients)
    assert all(each.similarity <= 1 + 1e-5 for each in found)
    return {(each.first, each.second) for each in found}


def test_slices_of_different_patients_are_no_duplicates() -> None:
    """Nor are the neighbouring slices of one patient, which are alike and never compared."""
    assert _pairs(SLICES, PATIENTS) == set()


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_under_another_patient_is_found(change: str) -> None:
    """Each slice of one patient once more under another: every pair, and no pair of a copy with a neighbour."""
    copies = [CHANGES[change](image) for image in SLICES[:N_SLICES]]
    expected = {(number, len(SLICES) + number) for number in range(N_SLICES)}
    assert _pairs([*SLICES, *copies], [*PATIENTS, *["copy"] * N_SLICES]) == expected


def test_a_copy_under_the_same_patient_is_none() -> None:
    """A slice that a patient has twice leaks nothing."""
    assert _pairs([*SLICES, SLICES[0]], [*PATIENTS, PATIENTS[0]]) == set()


def test_the_copies_of_several_patients_are_pairs_with_each() -> None:
    """Three patients with one slice are three pairs."""
    images, patients = [*SLICES, SLICES[0], SLICES[0]], [*PATIENTS, "copy", "another copy"]
    n = len(SLICES)
    assert _pairs(images, patients) == {(0, n), (0, n + 1), (n, n + 1)}


def test_rulers_and_letters_on_nothing_are_no_duplicates() -> None:
    """Burnt-in marks on a black slice are the same for every patient of a scanner, and say nothing of who it is."""
    black = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    black[10:60, 8:11] = black[20:40, 100:112] = 255
    rng = np.random.default_rng(0)
    slices = [np.clip(black + rng.integers(0, 4, black.shape), 0, 255).astype(np.uint8) for _ in range(6)]
    assert _pairs(slices, [str(number) for number in range(6)]) == set()


@pytest.mark.parametrize("n_slices", [0, 1, 2])
def test_slices_that_show_nothing_are_no_duplicates(n_slices: int) -> None:
    """Black slices of different patients have no structure to share; none, or one, is no error."""
    black = np.zeros((n_slices, 48, 48), np.uint8)
    assert find_near_duplicates(black, [str(number) for number in range(n_slices)]) == []
