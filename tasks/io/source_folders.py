"""Folders of a labelled source: `frames/` or `images/` beside `masks/`, and optionally `lungs/`, paired by name."""

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from tasks.core.naming_rules import Naming, identify_slice
from tasks.io.discovery import Discovery
from tasks.io.formats import KINDS, is_volume, kind_of, shown_suffix, suffix_of, without_suffix
from tasks.io.stored_objects import StoredObject, fingerprint

MASK_FOLDER: Final = "masks"
LUNG_FOLDER: Final = "lungs"
IMAGE_FOLDERS: Final = ("frames", "images")
LITTER: Final = {"thumbs.db", "desktop.ini"}
"""Names of files that file managers leave behind."""

_KNOWN = ", ".join(KINDS)


def first_folders(objects: Sequence[StoredObject]) -> set[str]:
    """Return the names of the folders that files lie in, without those below them."""
    return {o.path.split("/", 1)[0] for o in objects if "/" in o.path}


def image_folder(folders: Container[str]) -> str | None:
    """Return the folder of the images, if it is there."""
    return next((name for name in IMAGE_FOLDERS if name in folders), None)


def pair_folders(objects: Sequence[StoredObject], discovery: Discovery, naming: Naming | None) -> None:
    """Add images with the mask, and the lung mask if any, of the same path and name; reject all others.

    Args:
        objects: Files with their paths in the source, which has a folder of images and one of masks.
        discovery: Result to add to.
        naming: Naming rule of the user; without it, those of public collections are tried.
    """
    images = _by_stem(objects, image_folder(first_folders(objects)) or "", discovery)
    masks = _by_stem(objects, MASK_FOLDER, discovery)
    lungs = _by_stem(objects, LUNG_FOLDER, discovery)
    for stem in sorted(images.keys() | masks.keys() | lungs.keys()):
        claims = _Claims(*(found.get(stem, []) for found in (images, masks, lungs)))
        _pair(stem, claims, naming, discovery)


class _Claims(NamedTuple):
    """Files of one name."""

    images: list[StoredObject]
    masks: list[StoredObject]
    lungs: list[StoredObject]


def _pair(stem: str, claims: _Claims, naming: Naming | None, discovery: Discovery) -> None:
    """Add files with the same name as a labelled slice, or reject them."""
    images, masks, lungs = claims
    if max(map(len, claims)) > 1:
        found = f"{len(images)} image(s) and {len(masks)} mask(s)"
        if lungs:
            found = f"{len(images)} image(s), {len(masks)} mask(s) and {len(lungs)} lung mask(s)"
        sentence = f"{found} differ only in their suffix; keep one of each."
        for o in [*images, *masks, *lungs]:
            discovery.reject(o.uri, "duplicate_slice", sentence)
    elif images and masks:
        identity = identify_slice(PurePosixPath(stem).name, naming)
        is_public = identity.is_known and naming is None
        discovery.add(
            images[0],
            masks[0],
            identity=identity,
            lung=next(iter(lungs), None),
            is_volume=is_volume(images[0].uri),
            is_public=is_public,
        )
    elif images:
        sentence = "Image has no mask of the same name; add one, all zero if it shows no lesion."
        discovery.reject(images[0].uri, "unpaired_image", sentence)
    else:
        for o, what in [*((o, "Mask") for o in masks), *((o, "Lung mask") for o in lungs)]:
            sentence = f"{what} has no image of the same name; add it or remove the {what.lower()}."
            discovery.reject(o.uri, "unpaired_mask", sentence)


def _by_stem(objects: Sequence[StoredObject], folder: str, discovery: Discovery) -> dict[str, list[StoredObject]]:
    """Return the readable files of a folder by their path without suffix."""
    claims: dict[str, list[StoredObject]] = defaultdict(list)
    inside = [
        o for o in objects if o.path.split("/", 1)[0] == folder and PurePosixPath(o.path).name.lower() not in LITTER
    ]
    for o in join_series(inside):
        path = PurePosixPath(o.path)
        if o.uri.endswith("/"):
            claims[str(path.relative_to(folder))].append(o)
        elif suffix_of(o.path) in KINDS or (is_volume(o.path) and suffix_of(o.path)):
            claims[without_suffix(str(path.relative_to(folder)))].append(o)
        else:
            sentence = f"Files of type {shown_suffix(o.path)} are not read; known: {_KNOWN}."
            discovery.reject(o.uri, "unsupported_format", sentence)
    return claims


def join_series(objects: Sequence[StoredObject]) -> Iterator[StoredObject]:
    """Yield files, and each folder below the first level with only DICOM files as one path with a `/`."""
    folders: dict[PurePosixPath, list[StoredObject]] = defaultdict(list)
    for o in objects:
        folders[PurePosixPath(o.path).parent].append(o)
    for folder, files in folders.items():
        if len(folder.parts) > 1 and all(kind_of(o.path) == "dicom" for o in files):
            uri, times = files[0].uri.rpartition("/")[0], [o.modified_s for o in files if o.modified_s is not None]
            size_bytes = sum(o.size_bytes for o in files)
            yield StoredObject(f"{uri}/", str(folder), size_bytes, fingerprint(files), max(times, default=None))
        else:
            yield from files
