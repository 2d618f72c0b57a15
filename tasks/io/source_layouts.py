"""Layouts of a labelled source: in folders for images, masks and lung masks, or masks beside their images.

Files are brought into one form: paths below `images/`, `masks/` and `lungs/`.
"""

import unicodedata
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from tasks.io.formats import kind_of, without_suffix
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


def by_folder(objects: Sequence[StoredObject]) -> list[StoredObject]:
    """Return the files in folders for images, masks and lung masks, with paths in the common form."""
    form_of = {image_folder(objects): IMAGES, _first(_MASK_FOLDERS, objects): MASKS, LUNGS: LUNGS}
    found = []
    for o in objects:
        folder, _, path = o.path.partition("/")
        form = form_of.get(folder.casefold())
        if path and form:
            found.append(replace(o, path=f"{form}/{path}"))
    return found


def by_mark(objects: Sequence[StoredObject]) -> list[StoredObject]:
    """Return files with paths in the common form, by the marks at the ends of their names; empty if no two pair.

    A file `a_mask` is a mask if there is an `a`, a file or a folder of DICOM, in the same folder.
    """
    data = [o for o in objects if kind_of_other(o.path, MIN_SCAN_BYTES) not in NO_SCANS]
    folders = {str(folder) for o in data if kind_of(o.path) == "dicom" for folder in PurePosixPath(o.path).parents}
    keys = {key_of(without_suffix(o.path)) for o in data} | {key_of(folder) for folder in folders}
    if not any(_has_image(key, keys, MASK_MARKS) for key in keys):
        return []
    form_of = {o.path: _form(key_of(without_suffix(o.path)), keys) for o in data}
    return [replace(o, path=f"{form_of[o.path]}/{o.path}") for o in data]


def key_of(path: str) -> str:
    """Return a path as it is compared: letters composed (NFC) and without their case, as on most file systems."""
    return unicodedata.normalize("NFC", path).casefold()


def _form(key: str, keys: Set[str]) -> str:
    if _has_image(key, keys, LUNG_MARKS):
        return LUNGS
    is_marked = key.endswith(MASK_MARKS) and not any(key + mark in keys for mark in MASK_MARKS)
    return MASKS if is_marked or _has_image(key, keys, MASK_MARKS) else IMAGES


def _has_image(key: str, keys: Set[str], marks: Sequence[str]) -> bool:
    """Return whether a name is another one with a mark at its end."""
    return any(key.endswith(mark) and key[: -len(mark)] in keys for mark in marks)


def _first(names: Sequence[str], objects: Sequence[StoredObject]) -> str | None:
    there = {name.casefold() for name in first_folders(objects)}
    return next((name for name in names if name in there), None)
