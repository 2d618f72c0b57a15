"""Pairs of a labelled source: images with the mask, and the lung mask if any, of the same path and name."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Container, Iterator, Mapping, Sequence, Set
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from tasks.core.naming_rules import Naming, SliceName, identify_slice
from tasks.io.discovery import Discovery
from tasks.io.formats import KINDS, is_volume, kind_of, shown_suffix, suffix_of, without_suffix
from tasks.io.other_files import HIDDEN, MIN_SCAN_BYTES, kind_of_other
from tasks.io.source_layouts import IMAGES, LUNG_MARKS, LUNGS, MASK_MARKS, MASKS, key_of
from tasks.io.stored_objects import StoredObject, fingerprint

CHANNEL: Final = "_0000"
"""End of the names of images in nnU-Net's layout: the number of the channel."""
_OTHER_CHANNEL: Final = re.compile(r"_000[1-9]$")

_KNOWN = ", ".join(KINDS)


def is_litter(path: str) -> bool:
    """Return whether a file is left by a file manager or an operating system."""
    return kind_of_other(path, MIN_SCAN_BYTES) == HIDDEN


def pair_files(
    objects: Sequence[StoredObject], discovery: Discovery, naming: Naming | None, *, folder: str = ""
) -> None:
    """Add images with the mask, and the lung mask if any, of the same path and name; reject all others.

    Args:
        objects: Files below `images/`, `masks/` and `lungs/`.
        discovery: Result to add to.
        naming: Naming rule of the user; without it, those of public collections are tried.
        folder: Folder of these files, if it is one of several; a naming rule may take the patient from it.
    """
    mixed = _mixed_folders(objects)
    images = _by_stem(objects, IMAGES, discovery, mixed)
    names = {*images, *(str(folder) for name in images for folder in PurePosixPath(name).parents[:-1])}
    masks = _named_as(names, _by_stem(objects, MASKS, discovery, mixed), MASK_MARKS)
    lungs = _named_as(names, _by_stem(objects, LUNGS, discovery, mixed), (*LUNG_MARKS, *MASK_MARKS))
    images = _with_split_series(images, masks.keys() | lungs.keys())
    for stem in sorted(images.keys() | masks.keys() | lungs.keys()):
        claims = _Claims(*(found.get(stem, []) for found in (images, masks, lungs)))
        _pair(claims, naming, discovery, folder)


class _Claims(NamedTuple):
    """Files of one name."""

    images: list[StoredObject]
    masks: list[StoredObject]
    lungs: list[StoredObject]


def _named_as(
    images: Collection[str], labels: dict[str, list[StoredObject]], marks: Sequence[str]
) -> dict[str, list[StoredObject]]:
    """Return labels by the names of their images.

    A name that an image has is that image's. Else `a_mask` is the mask of `a`; else letters are compared without their
    case and form, if that is one image without a label of its own name.
    """
    by_key: dict[str, list[str]] = defaultdict(list)
    for stem in images:
        if stem not in labels:
            by_key[key_of(stem)].append(stem)
    named: dict[str, list[StoredObject]] = defaultdict(list)
    for stem, found in labels.items():
        named[stem if stem in images else _image_of(stem, images, by_key, marks)].extend(found)
    return named


def _image_of(stem: str, images: Container[str], by_key: Mapping[str, list[str]], marks: Sequence[str]) -> str:
    """Return the name of the image that a label without one is of; its own name if there is none."""
    key = key_of(stem)
    bare = [stem, *(stem[: -len(mark)] for mark in marks if key.endswith(mark))]
    names = [name + end for end in ("", CHANNEL) for name in bare]
    for name in names:
        if name in images:
            return name
    for name in names:
        alike = by_key.get(key_of(name), [])
        if len(alike) == 1:
            return alike[0]
    return stem


def _with_split_series(images: dict[str, list[StoredObject]], labelled: Set[str]) -> dict[str, list[StoredObject]]:
    """Return images with the folders below one that is labelled as one: a series over several folders."""
    below: dict[str, list[str]] = defaultdict(list)
    for name in images:
        for parent in PurePosixPath(name).parents:
            if str(parent) in labelled and str(parent) not in images:
                below[str(parent)].append(name)
    joined = dict(images)
    for stem, inside in below.items():
        parts = [o for name in inside for o in images[name]]
        if all(o.uri.endswith("/") for o in parts):
            for name in inside:
                joined.pop(name, None)
            joined[stem] = [_joined(stem, inside[0], parts)]
    return joined


def _joined(stem: str, first: str, parts: Sequence[StoredObject]) -> StoredObject:
    """Return folders of DICOM files as the folder that they share."""
    n_below = len(first) - len(stem)
    times = [o.modified_s for o in parts if o.modified_s is not None]
    return StoredObject(
        f"{parts[0].uri.rstrip('/')[:-n_below]}/",
        parts[0].path[:-n_below],
        sum(o.size_bytes for o in parts),
        fingerprint(parts),
        max(times, default=None),
    )


def _pair(claims: _Claims, naming: Naming | None, discovery: Discovery, folder: str) -> None:
    """Add files with the same name as a labelled slice, or reject them."""
    images, masks, lungs = claims
    if max(map(len, claims)) > 1:
        found = f"{len(images)} image(s) and {len(masks)} mask(s)"
        if lungs:
            found = f"{len(images)} image(s), {len(masks)} mask(s) and {len(lungs)} lung mask(s)"
        sentence = f"{found} have one name but for suffix, mark and case; keep one of each."
        for o in [*images, *masks, *lungs]:
            discovery.reject(o.uri, "duplicate_slice", sentence)
    elif images and masks:
        stem = unicodedata.normalize("NFC", _stem_of(images[0]))
        if not key_of(_stem_of(masks[0])).startswith(key_of(stem)):  # the mask of `a` is that of `a_0000`
            stem = stem.removesuffix(CHANNEL)
        identity = identify_slice(stem, naming, folder=folder)
        is_public = identity.is_known and naming is None
        discovery.add(
            images[0],
            masks[0],
            identity=identity,
            lung=next(iter(lungs), None),
            is_volume=is_volume(images[0].uri),
            is_public=is_public,
            name=SliceName(stem, folder),
        )
    elif images:
        sentence = "Image has no mask of the same name; add one, all zero if it shows no lesion."
        if _OTHER_CHANNEL.search(_stem_of(images[0])):
            sentence = (
                f"Image has no mask of the same name. Of a scan's channels only {CHANNEL} is read; remove others."
            )
        discovery.reject(images[0].uri, "unpaired_image", sentence)
    else:
        for o, what in [*((o, "Mask") for o in masks), *((o, "Lung mask") for o in lungs)]:
            sentence = f"{what} has no image of the same name; add it or remove the {what.lower()}."
            discovery.reject(o.uri, "unpaired_mask", sentence)


def _stem_of(o: StoredObject) -> str:
    """Return the path of an image below its folder, without suffix."""
    path = o.path.split("/", 1)[1]
    return path if o.uri.endswith("/") else without_suffix(path)


def _mixed_folders(objects: Sequence[StoredObject]) -> set[str]:
    """Return the URIs of folders in which DICOM images lie beside DICOM masks, so that they are no series."""
    folders: dict[str, set[str]] = defaultdict(set)
    for o in objects:
        if kind_of(o.path) == "dicom":
            folders[o.uri.rpartition("/")[0]].add(o.path.split("/", 1)[0])
    return {folder for folder, forms in folders.items() if len(forms) > 1}


def _by_stem(
    objects: Sequence[StoredObject], folder: str, discovery: Discovery, mixed: Container[str]
) -> dict[str, list[StoredObject]]:
    """Return the readable files of a folder by their path without suffix."""
    claims: dict[str, list[StoredObject]] = defaultdict(list)
    inside = [o for o in objects if o.path.split("/", 1)[0] == folder and not is_litter(o.path)]
    for o in join_series(inside, apart=mixed):
        if o.uri.endswith("/") or suffix_of(o.path) in KINDS or (is_volume(o.path) and suffix_of(o.path)):
            claims[_stem_of(o)].append(o)
        else:
            sentence = f"Files of type {shown_suffix(o.path)} are not read; known: {_KNOWN}."
            discovery.reject(o.uri, "unsupported_format", sentence)
    return claims


def join_series(objects: Sequence[StoredObject], *, apart: Container[str] = ()) -> Iterator[StoredObject]:
    """Yield files, and each folder below the first level with only DICOM files as one path with a `/`.

    Args:
        objects: Files.
        apart: URIs of folders that are not joined.
    """
    folders: dict[PurePosixPath, list[StoredObject]] = defaultdict(list)
    for o in objects:
        folders[PurePosixPath(o.path).parent].append(o)
    for folder, files in folders.items():
        uri = files[0].uri.rpartition("/")[0]
        if len(folder.parts) > 1 and uri not in apart and all(kind_of(o.path) == "dicom" for o in files):
            times = [o.modified_s for o in files if o.modified_s is not None]
            size_bytes = sum(o.size_bytes for o in files)
            yield StoredObject(f"{uri}/", str(folder), size_bytes, fingerprint(files), max(times, default=None))
        else:
            yield from files
