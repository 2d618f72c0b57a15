"""Foreign battery: slices as another hospital might export them, with masks in register.

`gamma` and `motion` never enter the augmentation: they show how the network generalises.
"""

from collections.abc import Callable

import cv2
import numpy as np

from tasks.core.landmarks import find_landmarks

SIDE_PX = 256
MARGIN_PX = 4
JPEG_QUALITY = 60
BLUR_SIGMA_PX = 1.2
GHOST_PX, GHOST_SHARE, STREAK_LEVELS = 5, 0.2, 8.0

Change = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Function from image, lesions and lungs of a slice to the same three, changed."""


def untouched(image: np.ndarray, mask: np.ndarray, lung: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slice as it is, to compare with."""
    return image, mask, lung


def turned(image: np.ndarray, mask: np.ndarray, lung: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slice turned by 90 degrees."""
    return np.rot90(image), np.rot90(mask), np.rot90(lung)


def cropped(image: np.ndarray, mask: np.ndarray, lung: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the box around the lungs, stretched to the whole slice."""
    rows, columns = (np.flatnonzero(lung.any(axis=axis)) for axis in (1, 0))
    top, bottom = max(rows[0] - MARGIN_PX, 0), rows[-1] + MARGIN_PX + 1
    left, right = max(columns[0] - MARGIN_PX, 0), columns[-1] + MARGIN_PX + 1
    box = np.s_[top:bottom, left:right]
    side = (SIDE_PX, SIDE_PX)
    return (
        cv2.resize(image[box], side, interpolation=cv2.INTER_LINEAR),
        cv2.resize(mask[box], side, interpolation=cv2.INTER_NEAREST),
        cv2.resize(lung[box], side, interpolation=cv2.INTER_NEAREST),
    )


def rewindowed(image: np.ndarray, mask: np.ndarray, lung: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slice through a narrower window: air below half the lung's level and bone are clipped."""
    found = find_landmarks(image)
    low, high = 0.5 * (found.lung or 0), 1.25 * (found.tissue or 204)
    stretched = np.clip((image.astype(np.float32) - low) * 255 / (high - low), 0, 255)
    return np.rint(stretched).astype(np.uint8), mask, lung


def compressed(image: np.ndarray, mask: np.ndarray, lung: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slice after JPEG compression."""
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), mask, lung


def blurred(image: np.ndarray, mask: np.ndarray, lung: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slice blurred, as by a smooth reconstruction kernel."""
    return cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), BLUR_SIGMA_PX), mask, lung


def all_together(image: np.ndarray, mask: np.ndarray, lung: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slice turned, cropped, through another window, blurred and compressed."""
    found = image, mask, lung
    for change in (turned, cropped, rewindowed, blurred, compressed):
        found = change(*found)
    return found


def gamma(image: np.ndarray, mask: np.ndarray, lung: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slice with a strong gamma, 0.5 or 2 by its content."""
    exponent = 0.5 if int(image.sum()) % 2 else 2.0
    return np.rint(255 * (image / 255.0) ** exponent).astype(np.uint8), mask, lung


def motion(image: np.ndarray, mask: np.ndarray, lung: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slice with ghosts to both sides and streaks, as of a patient who breathed."""
    ghosts = sum(np.roll(image.astype(np.float32), shift, axis=1) for shift in (-GHOST_PX, GHOST_PX))
    rows = np.random.default_rng(int(image.sum())).normal(0, STREAK_LEVELS, (len(image), 1))
    mixed = (1 - 2 * GHOST_SHARE) * image + GHOST_SHARE * ghosts + rows
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8), mask, lung


BATTERY: dict[str, Change] = {
    "untouched": untouched,
    "turned": turned,
    "cropped": cropped,
    "rewindowed": rewindowed,
    "jpeg": compressed,
    "blurred": blurred,
    "all": all_together,
    "gamma": gamma,
    "motion": motion,
}
