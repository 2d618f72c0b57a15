"""Chest-like slices of many structures, another for each patient, for what must tell patients apart."""

import cv2
import numpy as np


def anatomy(patient: int, number: int, *, size_px: int) -> np.ndarray:
    """Return a slice: a body with two lungs and organs, vessels and ribs at places of the patient's own.

    Neighbouring numbers show the same structures, slightly moved.
    """
    rng = np.random.default_rng([7, patient])
    image = np.full((size_px, size_px), 5.0)

    def draw(centre: np.ndarray, radii: np.ndarray, value: float, *, turned: float = 0.0) -> None:
        middle = tuple(round(size_px * place) for place in centre + drift)
        axes = tuple(max(1, round(size_px * radius)) for radius in radii)
        cv2.ellipse(image, middle, axes, float(rng.uniform(0, turned)), 0, 360, float(value), -1)

    drift = number * rng.uniform(-0.004, 0.004, 2)
    draw(np.array([0.5, 0.5]), rng.uniform([0.42, 0.31], [0.46, 0.35]), 150)
    for side in (-1, 1):
        draw(
            np.array([0.5 + side * rng.uniform(0.17, 0.21), rng.uniform(0.46, 0.52)]),
            rng.uniform([0.10, 0.16], [0.13, 0.20]),
            40,
        )
    for _ in range(90):
        draw(rng.uniform(0.2, 0.8, 2), rng.uniform(0.008, 0.04, 2), rng.uniform(20, 235), turned=180)
    return np.clip(cv2.GaussianBlur(image, (0, 0), size_px / 200), 0, 255).astype(np.uint8)
