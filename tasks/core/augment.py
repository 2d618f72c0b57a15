"""Augmentation of training slices and their masks; the only module that uses albumentations.

A pure function of (seed, epoch, case_id, slice_index): the same slice is changed alike on any machine, in any order.
"""

import hashlib
import math

import albumentations as A  # noqa: N812 - the name its own documentation uses
import cv2
import numpy as np

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.landmarks import STANDARD_LUNG

TONE_CURVE_SHARE = 0.6
"""Fraction of slices whose tone curve is changed."""
CLAHE_CLIP_LIMIT = (1.0, 4.0)
BLUR_PX = (3, 5)
JPEG_QUALITY = (40, 90)


def build_augmentation(config: AugmentConfig) -> A.Compose:
    """Return the transform of these parameters: geometry, then intensities, then what scanners and exports do.

    Borders are reflected. Changes of intensity do not change the mask. Noise comes before equalisation, because it is
    the scanner's: an export that equalises a slice amplifies its noise.
    """
    return A.Compose([*_geometry(config), *_intensities(config), *_exports(config)])


class _LungContrast(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Stretches or shrinks differences from the level of lung on the standard scale.

    The gain is uniform in its logarithm. Lung keeps its level, unlike under `RandomBrightnessContrast`, so that what
    varies is how much a lesion stands out.
    """

    def __init__(self, fraction: float, *, p: float) -> None:
        super().__init__(p=p)
        self.limit = math.log1p(fraction)

    def get_params(self) -> dict[str, float]:
        return {"gain": math.exp(self.py_random.uniform(-self.limit, self.limit))}

    def apply(self, img: np.ndarray, gain: float, **_: object) -> np.ndarray:
        levels = np.clip(STANDARD_LUNG + (np.arange(256) - STANDARD_LUNG) * gain, 0, 255)
        stretched: np.ndarray = cv2.LUT(img, np.rint(levels).astype(np.uint8))
        return stretched


def _geometry(config: AugmentConfig) -> list[A.BasicTransform]:
    is_affine = any((config.zoom, config.zoom_in, config.shift, config.rotate_degrees, config.shear_degrees))
    return [
        A.HorizontalFlip(p=config.horizontal_flip),
        A.VerticalFlip(p=config.vertical_flip),
        A.RandomRotate90(p=config.quarter_turns),
        A.Affine(
            scale=(1 - config.zoom, 1 + max(config.zoom, config.zoom_in)),
            translate_percent=(-config.shift, config.shift),
            rotate=(-config.rotate_degrees, config.rotate_degrees),
            shear=(-config.shear_degrees, config.shear_degrees),
            border_mode=cv2.BORDER_REFLECT_101,
            mask_interpolation=cv2.INTER_NEAREST,
            p=float(is_affine),
        ),
    ]


def _intensities(config: AugmentConfig) -> list[A.BasicTransform]:
    return [
        _LungContrast(config.lung_contrast, p=float(config.lung_contrast > 0)),
        A.RandomToneCurve(scale=config.tone_curve, p=TONE_CURVE_SHARE * (config.tone_curve > 0)),
        A.RandomBrightnessContrast(
            brightness_limit=config.brightness,
            contrast_limit=config.contrast,
            p=float(any((config.brightness, config.contrast))),
        ),
    ]


def _exports(config: AugmentConfig) -> list[A.BasicTransform]:
    return [
        A.GaussNoise(std_range=(0, config.noise), p=float(config.noise > 0)),
        A.CLAHE(clip_limit=CLAHE_CLIP_LIMIT, p=config.equalisation),
        A.GaussianBlur(blur_limit=BLUR_PX, p=config.blur),
        A.ImageCompression(quality_range=JPEG_QUALITY, p=config.jpeg),
    ]


def augment_slice(
    augmentation: A.Compose, image: np.ndarray, labels: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice and its labels, augmented together.

    Args:
        augmentation: From `build_augmentation`; its random state is reset here.
        image: uint8 `(H, W)`.
        labels: uint8 `(H, W)`, a mask or several in one (core/labels.py).
        seed: From `augmentation_seed`.

    Returns:
        Image and labels, uint8 `(H, W)`; there are no labels but those of before.
    """
    augmentation.set_random_seed(seed)
    changed = augmentation(image=image, mask=labels)
    return changed["image"], changed["mask"]


def augmentation_seed(seed: int, epoch: int, case_id: str, slice_index: int) -> int:
    """Return the 32-bit seed of one slice in one epoch."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{case_id}:{slice_index}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
