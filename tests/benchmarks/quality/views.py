"""A way of showing a slice to the network that is tried and not in the product: cropped to the lungs."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.core.landmarks import find_landmarks
from tests.benchmarks.quality.collection import Slices

SIDE_PX = 256
MARGIN = 0.08
"""Margin of a box, as a fraction of its side."""
MIN_SIDE_PX = 96
MIN_LUNG_FRACTION = 0.01
OPENING_PX = 5

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Box:
    """Box in a slice: first and last row and column, the last ones excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def cut(self, pixels: np.ndarray, interpolation: int) -> np.ndarray:
        """Return what lies inside, `(256, 256)`."""
        inside = pixels[self.top : self.bottom, self.left : self.right]
        return cv2.resize(inside, (SIDE_PX, SIDE_PX), interpolation=interpolation)

    def put_back(self, pixels: np.ndarray) -> np.ndarray:
        """Return the whole slice with pixels `(256, 256)` inside the box, and 0 outside."""
        whole = np.zeros((SIDE_PX, SIDE_PX), pixels.dtype)
        size = (self.right - self.left, self.bottom - self.top)
        whole[self.top : self.bottom, self.left : self.right] = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        return whole


WHOLE = Box(0, SIDE_PX, 0, SIDE_PX)


def lung_box(image: np.ndarray) -> Box:
    """Return the box around what is dark inside the body, with a margin; the whole slice where that is too little."""
    found = find_landmarks(image)
    if found.lung is None or found.tissue is None:
        return WHOLE
    body = cv2.morphologyEx(
        (cv2.GaussianBlur(image, (5, 5), 0) > (found.lung + found.tissue) / 2).astype(np.uint8),
        cv2.MORPH_CLOSE,
        np.ones((OPENING_PX, OPENING_PX), np.uint8),
    )
    n_components, labels, figures, _ = cv2.connectedComponentsWithStats(body)
    if n_components < 2:
        return WHOLE
    largest = (labels == 1 + int(figures[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    contours, _ = cv2.findContours(largest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = np.zeros_like(largest)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
    dark = cv2.morphologyEx(hull * (1 - largest), cv2.MORPH_OPEN, np.ones((OPENING_PX, OPENING_PX), np.uint8))
    if dark.mean() < MIN_LUNG_FRACTION:
        return WHOLE
    rows, columns = (np.flatnonzero(dark.any(axis=axis)) for axis in (1, 0))
    return Box(*_side(rows[0], rows[-1] + 1), *_side(columns[0], columns[-1] + 1))


def cropped(slices: Slices) -> Slices:
    """Return slices cropped to the lungs."""
    boxes = [lung_box(image) for image in slices.images]

    def cut(pixels: np.ndarray, interpolation: int) -> np.ndarray:
        return np.stack([box.cut(one, interpolation) for box, one in zip(boxes, pixels, strict=True)])

    images, masks = cut(slices.images, cv2.INTER_LINEAR), cut(slices.masks, cv2.INTER_NEAREST)
    return Slices(images, masks, cut(slices.lungs, cv2.INTER_NEAREST), slices.has_lung, slices.identities)


def predict_cropped(predict: Predict, images: np.ndarray) -> np.ndarray:
    """Return the outputs `(n_outputs, N, 256, 256)` of slices that are cropped for the network."""
    boxes = [lung_box(image) for image in images]
    inside = np.stack([box.cut(image, cv2.INTER_LINEAR) for box, image in zip(boxes, images, strict=True)])
    outputs = predict(inside)
    return np.stack(
        [np.stack([box.put_back(one) for box, one in zip(boxes, output, strict=True)]) for output in outputs]
    )


def _side(first: int, last: int) -> tuple[int, int]:
    """Return the ends of a side with its margin, inside the slice and not too short."""
    margin = max(round(MARGIN * (last - first)), (MIN_SIDE_PX - (last - first)) // 2)
    return max(first - margin, 0), min(last + margin, SIDE_PX)
