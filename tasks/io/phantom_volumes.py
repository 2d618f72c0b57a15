"""New scans of the demo: phantom volumes as NIfTI, some with planted faults for its report to show."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.core.config.intensity import HuConfig
from tasks.core.phantoms import PhantomScan, phantom_scan
from tasks.io import storage

SPACING_MM = (8.0, 2.6, 2.6)
"""Between slices, rows and columns: a chest of 30 cm."""
WINDOW = HuConfig(window_level_hu=-24, window_width_hu=2000)
"""CT window by which the grey values of phantoms are those of air, lung (about -700 HU) and soft tissue."""
FIRST_PATIENT = 100
N_PLAIN = 5


@dataclass(frozen=True, slots=True)
class Planted:
    """Planted fault.

    Attributes:
        change: Function from a phantom to the slices that are written.
        n_lesions: Lesions of the phantom.
        kept_share: Share of the file's bytes that is written.
    """

    change: Callable[[PhantomScan], np.ndarray]
    n_lesions: int = 4
    kept_share: float = 1.0


def _speckled(scan: PhantomScan) -> np.ndarray:
    """Return the slices with strong noise and many small bright spots in the lungs."""
    rng = np.random.default_rng(FIRST_PATIENT)
    image = scan.image + rng.normal(0, 20, scan.image.shape)
    spots = (rng.random(scan.image.shape) < 0.004) & (scan.lung > 0)
    for shift in (-1, 0, 1):
        image[np.roll(spots, shift, axis=2)] += 70
        image[np.roll(spots, shift, axis=1)] += 70
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


PLANTED = {
    "foreign": Planted(lambda scan: np.rot90(255 - scan.image, axes=(1, 2))),
    "cut_at_the_end": Planted(lambda scan: scan.image[: len(scan.image) // 2]),
    "without_lesion": Planted(lambda scan: scan.image, n_lesions=0),
    "speckled": Planted(_speckled),
    "cut_short": Planted(lambda scan: scan.image, kept_share=0.5),
}
"""Faults by name: another contrast and turned, half a lung, no lesion, noise with spots like lesions, a torn file."""


def write_phantom_volumes(uri: str, *, n_slices: int, size_px: int) -> None:
    """Write plain phantoms and those with a planted fault, `.nii.gz`; always the same.

    Args:
        uri: URI to write to.
        n_slices: Slices per volume.
        size_px: Side of a slice.
    """
    for number in range(N_PLAIN):
        scan = phantom_scan(FIRST_PATIENT + number, n_slices=n_slices, size_px=size_px)
        storage.publish(storage.join(uri, f"phantom_{FIRST_PATIENT + number}.nii.gz"), to_nifti(scan.image))
    for number, (name, planted) in enumerate(PLANTED.items(), FIRST_PATIENT + N_PLAIN):
        scan = phantom_scan(number, n_slices=n_slices, size_px=size_px, n_lesions=planted.n_lesions)
        content = to_nifti(planted.change(scan))
        kept = content[: int(len(content) * planted.kept_share)]
        storage.publish(storage.join(uri, f"planted_{name}.nii.gz"), kept)


def to_nifti(image: np.ndarray) -> bytes:
    """Return slices as a gzipped NIfTI volume in Hounsfield units, the same bytes each time.

    Args:
        image: uint8 `(D, H, W)`, from feet to head, the patient's left on the right.
    """
    import nibabel as nib  # here, because the command line does not wait for it

    lowest = WINDOW.window_level_hu - WINDOW.window_width_hu / 2
    hu = np.rint(lowest + image.astype(np.float32) * (WINDOW.window_width_hu / 255)).astype(np.int16)
    step, row, column = SPACING_MM
    affine = np.diag([-column, -row, step, 1.0])  # columns to the left, rows to the back: RAS+ points the other way
    return gzip.compress(nib.Nifti1Image(hu.transpose(2, 1, 0), affine).to_bytes(), compresslevel=1, mtime=0)
