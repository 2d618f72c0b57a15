"""Phantoms: artificial scans with known lesions, for the demo, the tests and the self-test of bundles.

A phantom is a body with two lungs, vessels, and lesions inside the lungs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

_AIR, _LUNG, _BODY, _BONE = 0, 40, 150, 235
_LESION_CONTRAST = 70


@dataclass(frozen=True, slots=True)
class PhantomScan:
    """Phantom and the masks of its lesions and lungs.

    Attributes:
        image: uint8 `(D, H, W)`.
        mask: Lesions, uint8 `(D, H, W)` of 0 and 1.
        lung: Lungs with their lesions, likewise.
    """

    image: np.ndarray
    mask: np.ndarray
    lung: np.ndarray


def phantom_scan(seed: int, *, n_slices: int = 24, size_px: int = 128, n_lesions: int = 4) -> PhantomScan:
    """Return a chest-like volume with ellipsoid lesions; the same seed gives the same volume.

    Args:
        seed: Seed of the anatomy.
        n_slices: Number of slices.
        size_px: Height and width of a slice.
        n_lesions: Number of lesions in both lungs together; parts outside the lungs are removed.
    """
    rng = np.random.default_rng([seed, n_slices, size_px])
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in (n_slices, size_px, size_px)), indexing="ij")
    width, height = rng.uniform(0.80, 0.92), rng.uniform(0.62, 0.72)
    body = _ellipsoid(grid, (0, 0, 0), (9, height, width))
    lungs = np.zeros_like(body)
    for side in (-1, 1):
        centre = (rng.uniform(-0.1, 0.1), rng.uniform(-0.08, 0.02), side * width * 0.47)
        lungs |= _ellipsoid(grid, centre, (rng.uniform(0.95, 1.2), height * 0.72, width * 0.36))
    spine = _ellipsoid(grid, (0, height * 0.72, 0), (9, 0.12, 0.12))

    vessels = gaussian_filter(rng.standard_normal(body.shape), 1.2)
    image = np.full(body.shape, float(_AIR))
    image[body] = _BODY
    image[lungs] = _LUNG + 35 * (vessels[lungs] > 0.22)
    image[spine] = _BONE

    mask = _lesions(grid, lungs, rng, n_lesions)
    image[mask] += _LESION_CONTRAST + 25 * gaussian_filter(rng.standard_normal(body.shape), 1.0)[mask]
    image = gaussian_filter(image, (0, 0.6, 0.6)) + rng.normal(0, 5, image.shape)
    return PhantomScan(np.clip(np.rint(image), 0, 255).astype(np.uint8), mask.astype(np.uint8), lungs.astype(np.uint8))


def _lesions(grid: Sequence[np.ndarray], lungs: np.ndarray, rng: np.random.Generator, n_lesions: int) -> np.ndarray:
    mask = np.zeros_like(lungs)
    inside = np.argwhere(lungs)
    for _ in range(n_lesions if len(inside) else 0):
        voxel = tuple(inside[rng.integers(len(inside))])
        centre = tuple(float(axis[voxel]) for axis in grid)
        mask |= _ellipsoid(grid, centre, (rng.uniform(0.2, 0.5), *rng.uniform(0.08, 0.22, size=2)))
    mask &= lungs
    return mask


def _ellipsoid(grid: Sequence[np.ndarray], centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    distance = np.zeros(grid[0].shape)
    for axis, c, r in zip(grid, centre, radii, strict=True):
        distance += ((axis - c) / r) ** 2
    return distance <= 1
