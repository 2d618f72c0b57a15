"""Layouts of a labelled source: in folders for images, masks and lung masks, or masks beside their images.

Files are brought into one form: paths below `images/`, `masks/` and `lungs/`.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from tasks.io.formats import KINDS, suffix_of, without_suffix
from tasks.io.other_files import MIN_SCAN_BYTES, NO_SCANS, kind_of_other
from tasks.io.stored_objects import StoredObject

IMAGES: Final = "images"
MASKS: Final = "masks"
LUNGS: Final = "lungs"

MASK_MARKS: Final = ("_mask", "-mask", ".mask", "_masks", "_seg", "-seg", ".seg", "_label", "_labels", "_gt")
LUNG_MARKS: Final = ("_lung", "_lungs", "_lungmask", "_lung_mask")
"""Ends of names by which public collections tell a mask from its image."""

_IMAGE_FOLDERS: Final = ("frames", "images", "imagestr")
_MASK_FOLDERS: Final = ("masks", "labels", "labelstr")
"""Names of folders, without their case; where several are there, the first is taken. `imagesTr/` and `labelsTr/` are
those of the Medical Segmentation Decathlon and of nnU-Net."""

EXPECTED: Final = "frames/ or images/ beside masks/, or masks beside images as a_mask beside a"


def first_folders(objects: Sequence[StoredObject]) -> set[str]:
    """Return the names of the folders that files lie in, without those below them."""
    return {o.path.split("/", 1)[0] for o in objects if "/" in o.path}


def image_folder(objects: Sequence[StoredObject]) -> str | None:
    """Return the folder of the images, without its case, if it is there."""
    return _first(_IMAGE_FOLDERS, objects)


def known_folders(objects: Sequence[StoredObject]) -> list[str]:
    """Return the folders with names of a layout."""
    known = {*_IMAGE_FOLDERS, *_MASK_FOLDERS}
    return sorted(name for name in first_folders(objects) if name.casefold() in known)


def has_folders(objects: Sequence[StoredObject]) -> bool:
    """Return whether files lie in folders for images and masks."""
    return image_folder(objects) is not None and _first(_MASK_FOLDERS, objects) is not None


def by_folder(objects: Sequence[StoredObject]) -> Iterator[StoredObject]:
    """Yield the files in folders for images, masks and lung masks, with paths in the common form."""
    form_of = {image_folder(objects): IMAGES, _first(_MASK_FOLDERS, objects): MASKS, LUNGS: LUNGS}
    for o in objects:
        folder, _, path = o.path.partition("/")
        form = form_of.get(folder.casefold())
        if path and form:
            yield replace(o, path=f"{form}/{path}")


def by_mark(objects: Sequence[StoredObject]) -> list[StoredObject]:
    """Return files with paths in the common form, by the marks at the ends of their names; empty if no two pair.

    A file `a_mask` is a mask if there is an `a` in the same folder.
    """
    readable = [o for o in objects if suffix_of(o.path) in KINDS]
    stems = {key_of(without_suffix(o.path)) for o in readable}
    stems |= {key_of(o.path.rpartition("/")[0]) for o in readable}  # of a series
    data = [o for o in objects if kind_of_other(o.path, MIN_SCAN_BYTES) not in NO_SCANS]
    found = [replace(o, path=f"{_form(key_of(without_suffix(o.path)), stems)}/{o.path}") for o in data]
    return found if any(o.path.startswith(f"{MASKS}/") for o in found) else []


def key_of(path: str) -> str:
    """Return a path as it is compared: letters composed (NFC) and without their case, as on most file systems."""
    return unicodedata.normalize("NFC", path).casefold()


def _form(key: str, keys: set[str]) -> str:
    for form, marks in ((LUNGS, LUNG_MARKS), (MASKS, MASK_MARKS)):
        if any(key.endswith(mark) and key[: -len(mark)] in keys for mark in marks):
            return form
    return IMAGES


def _first(names: Sequence[str], objects: Sequence[StoredObject]) -> str | None:
    there = {name.casefold() for name in first_folders(objects)}
    return next((name for name in names if name in there), None)
