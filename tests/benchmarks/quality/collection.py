"""Public slices with expert masks, in memory: images, lesions, lungs, and who they belong to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tasks.core.naming_rules import SliceIdentity, identify_slice

SOURCES = ("coronacases", "radiopaedia")


def data_folder() -> Path:
    """Return the folder of the public slices."""
    default = Path(__file__).parents[4] / "shared" / "data"
    return Path(os.environ.get("LESIONS_TEST_DATA", default))


@dataclass(frozen=True, slots=True)
class Slices:
    """Slices of any patients.

    Attributes:
        images: uint8 `(N, 256, 256)`.
        masks: Lesions, uint8 `(N, 256, 256)` of 0 and 1.
        lungs: Lungs, likewise; zero where `has_lung` is false.
        has_lung: Whether a slice has a lung mask, `(N,)`.
        identities: Patient, case and position of each.
    """

    images: np.ndarray
    masks: np.ndarray
    lungs: np.ndarray
    has_lung: np.ndarray
    identities: tuple[SliceIdentity, ...]

    def __len__(self) -> int:
        return len(self.identities)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Slices":
        """Return some of the slices."""
        chosen = np.asarray(indices, int)
        return Slices(
            self.images[chosen],
            self.masks[chosen],
            self.lungs[chosen],
            self.has_lung[chosen],
            tuple(self.identities[index] for index in chosen),
        )

    def of(self, patients: set[str]) -> np.ndarray:
        """Return the indices of the slices of patients."""
        return np.flatnonzero([identity.patient_id in patients for identity in self.identities])

    @property
    def source_of(self) -> dict[str, str]:
        """Source of each patient."""
        return {identity.patient_id: identity.source for identity in self.identities}


def read_collection() -> Slices:
    """Return all labelled slices of both sources, by case and position."""
    paths = [path for source in SOURCES for path in (data_folder() / f"{source}_256" / "frames").iterdir()]
    paths.sort(key=lambda path: _order(identify_slice(path.stem)))
    lungs = [_mask(path.parents[1] / "lungs" / path.name) for path in paths]
    return Slices(
        images=np.stack([_read(path) for path in paths]),
        masks=np.stack([_required(_mask(path.parents[1] / "masks" / path.name)) for path in paths]),
        lungs=np.stack([np.zeros((256, 256), np.uint8) if lung is None else lung for lung in lungs]),
        has_lung=np.array([lung is not None for lung in lungs]),
        identities=tuple(identify_slice(path.stem) for path in paths),
    )


def read_equalised(collection: Slices) -> Slices:
    """Return the slices that exist in strongly equalised contrast (CLAHE), with that image."""
    where = {(each.case_id, each.slice_index): index for index, each in enumerate(collection.identities)}
    paths = sorted((data_folder() / "coronacases_clahe_256" / "frames").iterdir())
    found = [identify_slice(path.stem) for path in paths]
    twins = collection.take([where[each.case_id, each.slice_index] for each in found])
    return Slices(np.stack([_read(path) for path in paths]), twins.masks, twins.lungs, twins.has_lung, twins.identities)


def _order(identity: SliceIdentity) -> tuple[str, int]:
    return identity.case_id, identity.slice_index


def _read(path: Path) -> np.ndarray:
    return _required(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


def _mask(path: Path) -> np.ndarray | None:
    return (_read(path) > 0).astype(np.uint8) if path.exists() else None


def _required(image: np.ndarray | None) -> np.ndarray:
    if image is None:
        raise FileNotFoundError("A slice has no readable image or mask.")
    return image
