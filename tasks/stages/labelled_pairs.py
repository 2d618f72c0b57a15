"""Labelled pairs: image and mask of a slice or a volume, checked against each other."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

import numpy as np

from tasks.core.catalog import MaskRule
from tasks.core.config.preparation import PreparationConfig
from tasks.core.errors import DataError
from tasks.core.geometry import resize_mask, resize_slice
from tasks.core.intensity import binarise_mask, hu_to_uint8, slice_to_uint8
from tasks.core.rows import SlicePair
from tasks.core.volumes import Grid, Volume, check_one_grid
from tasks.io import formats, storage
from tasks.io.formats import is_volume, kind_of, read_image, read_labels, read_volume, shown_suffix
from tasks.io.formats.dicom_seg import read_segmentation
from tasks.io.labelled_series import read_grid, read_series
from tasks.io.outputs.datasets import SliceRow

_Pixels = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Image, mask and lung mask of a slice on the source grid, each uint8 `(H, W)`."""

LUNG_RULE: Final[MaskRule] = "nonzero"
"""Rule for lung masks: expert masks often have one value per lung."""


def preprocess_pair(pair: SlicePair, preparation: PreparationConfig) -> Iterator[SliceRow]:
    """Yield the slices of a pair, checked and resized; of a volume from feet to head.

    Raises:
        DataError: If image, mask or lung mask cannot be read, differ in size or position, or a mask is not binary by
            the rule.
    """
    slices: Iterable[_Pixels]
    if is_volume(pair.image_uri):
        volume = _volume(pair.image_uri)
        slices, spacing_mm = _volume_slices(volume, pair, preparation), [*volume.grid.as_read().spacing_mm]
    else:
        slices, spacing_mm = [_slice(pair, preparation)], None
    for offset, (image, mask, lung) in enumerate(slices):
        yield SliceRow(
            case_id=pair.case_id,
            slice_index=pair.slice_index + offset,
            patient_id=pair.patient_id,
            source=pair.source,
            image=resize_slice(image, preparation.size_px),
            mask=resize_mask(mask, preparation.size_px),
            lung=None if lung is None else resize_mask(lung, preparation.size_px),
            image_uri=pair.image_uri,
            mask_uri=pair.mask_uri,
            lung_uri=pair.lung_uri,
            source_height=image.shape[0],
            source_width=image.shape[1],
            spacing_mm=spacing_mm,
        )


def reference_mask(uri: str, slice_index: int, rule: MaskRule, image_uri: str = "") -> np.ndarray:
    """Return the reference mask of a slice on the source grid, uint8 `(H, W)` of 0 and 1.

    Args:
        uri: URI of the mask.
        slice_index: Index of the slice, if the file holds a volume.
        rule: Rule for the stored values of lesions.
        image_uri: URI of the image's file or folder: a DICOM-SEG may omit slices without lesions.
    """
    if not is_volume(uri):
        return binarise_mask(read_labels(uri, storage.read_bytes(uri)), rule)
    mask = _mask_volume(uri, rule, image_uri)
    if slice_index >= len(mask):
        raise DataError("vanished", f"The mask has {len(mask)} slices now, fewer than when the dataset was prepared.")
    one: np.ndarray = mask[slice_index]
    return one


def _slice(pair: SlicePair, preparation: PreparationConfig) -> _Pixels:
    image = slice_to_uint8(read_image(pair.image_uri, storage.read_bytes(pair.image_uri)))
    mask = _slice_mask(pair.mask_uri, image, preparation.mask_rule, pair.mask_sha256)
    if pair.lung_uri is None:
        return image, mask, None
    with _about_the_lung_mask():
        return image, mask, _slice_mask(pair.lung_uri, image, LUNG_RULE)


def _slice_mask(uri: str, image: np.ndarray, rule: MaskRule, sha256: str | None = None) -> np.ndarray:
    """Return the mask of an image, checked against it, uint8 `(H, W)` of 0 and 1."""
    labels = read_labels(uri, _content(uri, sha256))
    if image.shape != labels.shape:
        raise DataError(
            "shape_mismatch",
            f"Image is {image.shape[1]}×{image.shape[0]} px, its mask {labels.shape[1]}×{labels.shape[0]}; "
            "they must be the same. Export the pair again.",
        )
    return binarise_mask(labels, rule)


def _volume_slices(volume: Volume, pair: SlicePair, preparation: PreparationConfig) -> Iterator[_Pixels]:
    volume.check()
    references = _volume_mask(pair.mask_uri, volume, preparation.mask_rule, pair.mask_sha256)
    lungs: Iterable[np.ndarray | None] = [None] * len(references)
    if pair.lung_uri is not None:
        with _about_the_lung_mask():
            lungs = _volume_mask(pair.lung_uri, volume, LUNG_RULE)
    for image, reference, lung in zip(volume.slices(), references, lungs, strict=True):
        pixels = image if volume.unit == "grey" else hu_to_uint8(image, preparation.hu)
        yield pixels, np.ascontiguousarray(reference), None if lung is None else np.ascontiguousarray(lung)


def _content(uri: str, sha256: str | None) -> bytes:
    """Return the content of a mask.

    Raises:
        DataError: `changed`, if it has not the digest that was listed.
    """
    content = storage.read_bytes(uri)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise DataError("changed", "The label changed since it was listed, perhaps by a review. Prepare again.")
    return content


def _volume_mask(uri: str, volume: Volume, rule: MaskRule, sha256: str | None = None) -> np.ndarray:
    """Return the mask of a volume, checked against it, uint8 `(D, H, W)` of 0 and 1 in reading orientation."""
    labels = _labels(uri, volume.grid, sha256)
    check_one_grid(volume.grid, labels.grid)
    mask: np.ndarray = labels.grid.to_reading(binarise_mask(labels.voxels, rule))
    return mask


@contextmanager
def _about_the_lung_mask() -> Iterator[None]:
    """Say in the sentence of a rejection that it is about the lung mask."""
    try:
        yield
    except DataError as err:
        raise DataError(err.code, f"Lung mask: {err.sentence}", err.where) from err


def _volume(uri: str) -> Volume:
    return read_series(uri) if kind_of(uri) == "dicom" else read_volume(uri, storage.read_bytes(uri))


def _grid(uri: str) -> Grid:
    """Return the grid of a volume, from headers alone if the format allows it."""
    return read_grid(uri) if kind_of(uri) == "dicom" else formats.read_grid(uri, storage.read_bytes(uri))


def _labels(uri: str, grid: Grid, sha256: str | None = None) -> Volume:
    """Return the labels of a volume; a DICOM-SEG on the grid of its image."""
    if not is_volume(uri):
        raise DataError(
            "unsupported_format",
            f"The image is a volume or a DICOM series, its mask a slice ({shown_suffix(uri)}). Send a volume on the "
            "image's grid or a DICOM-SEG, or the image as PNG.",
        )
    if kind_of(uri) != "dicom":
        return read_volume(uri, _content(uri, sha256))
    files = storage.list_objects(uri)
    if len(files) != 1:
        raise DataError(
            "ambiguous_series", f"{len(files)} files were found where one DICOM-SEG was expected; keep one."
        )
    return Volume(read_segmentation(storage.read_bytes(files[0].uri), grid), grid)


@lru_cache(2)
def _mask_volume(uri: str, rule: MaskRule, image_uri: str) -> np.ndarray:
    """Return the mask of a volume in reading orientation; it is cached for all slices of a shard."""
    labels = _labels(uri, _grid(image_uri)) if kind_of(uri) == "dicom" else _volume(uri)
    read: np.ndarray = labels.grid.to_reading(binarise_mask(labels.voxels, rule))
    return read
