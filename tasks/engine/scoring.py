"""How slices are scored in Ray's workers: who scores whom, and counts on the source's own grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.errors import DataError, StorageError
from tasks.core.geometry import resize_slice_to, restore_probability
from tasks.core.metrics import binary_cross_entropy, count_pixels
from tasks.core.operating_point import probability_histogram
from tasks.core.panels import PALETTE, comparison
from tasks.core.postprocess import drop_small_lesions, threshold_probability
from tasks.core.records import ModelCard
from tasks.engine.labelled import reference_mask
from tasks.engine.work import Loaded, Predicted
from tasks.io import datasets
from tasks.io.formats.raster import write_png


@dataclass(frozen=True, slots=True)
class Scorer:
    """Who scores, and at which operating point.

    Attributes:
        member: Place of the network of an ensemble; None is all of the bundle.
        threshold: At which probability a pixel is called lesion.
        test_time_flips: Whether mirror images are predicted too.
    """

    member: int | None = None
    threshold: float = 0.5
    test_time_flips: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """Who scores whom."""

    by: Scorer
    patients: set[str]


def views(card: ModelCard, patients: set[str]) -> list[View]:
    """Return who scores whom: the networks of an ensemble those they never saw, all together everybody else."""
    views = []
    for place, member in enumerate(card.members):
        alone = card.alone(place)
        by = Scorer(place, alone.threshold, alone.test_time_flips)
        views.append(View(by, patients.intersection(member.held_out)))
    rest = patients.difference(*(member.held_out for member in card.members))
    views.append(View(Scorer(None, card.threshold, card.test_time_flips), rest))
    return [view for view in views if view.patients]


def load_shard(view: View, shard_uris: Sequence[str]) -> Loaded:
    """Return a shard's slices of the view's patients, which may be none, and their rows as the rest."""
    (uri,) = shard_uris
    found = datasets.read_shard(uri)
    rows = [row for row in found if row["patient_id"] in view.patients]
    images = np.stack([row["image"] for row in rows]) if rows else np.empty((0, *found[0]["image"].shape), np.uint8)
    return Loaded(images, rows, n_held=2 * images.nbytes, n_read=2 * images.nbytes)


def score_shard(
    shards: Sequence[Predicted], *, view: View, **how: Any
) -> tuple[list[list[dict[str, Any]]], int]:  # Any: what `_score_slice` takes and gives
    """Return the scores of a shard's slices; nothing is written."""
    (shard,) = shards
    pairs = zip(shard.rest, shard.probability, strict=True)
    rows = [_score_slice({**row, "probability": answer}, threshold=view.by.threshold, **how) for row, answer in pairs]
    return [[row | {"by": view.by} for row in rows]], 0


def _score_slice(
    row: dict[str, Any], *, threshold: float, min_lesion_px: int, mask_rule: Any
) -> dict[str, Any]:  # Any: a Ray row, and a Literal of PreparationConfig
    """Return what the patient's score needs of a slice; of its pixels, only a picture."""
    scored: dict[str, Any] = {key: row[key] for key in ("case_id", "slice_index", "patient_id", "source", "mask_uri")}
    shape = (row["source_height"], row["source_width"])
    try:
        reference = _source_reference(row, shape, mask_rule)
    except DataError as err:
        return scored | {"error_code": err.code, "error": err.sentence}
    probability = row["probability"]
    mask = threshold_probability(restore_probability(probability, shape), threshold)
    prediction, _ = drop_small_lesions(mask, min_lesion_px)
    counts = count_pixels(prediction, reference)
    histogram = probability_histogram(probability, row["mask"])
    picture = comparison(resize_slice_to(row["image"], shape), prediction=prediction, reference=reference)
    return scored | {
        "error_code": None,
        "error": None,
        "counts": [counts.tp, counts.fp, counts.fn, counts.tn],
        "lesion_histogram": histogram.lesion,
        "healthy_histogram": histogram.healthy,
        "loss": binary_cross_entropy(probability, row["mask"]),
        "panel": write_png(picture, PALETTE) if reference.any() or prediction.any() else b"",
    }


def _source_reference(row: dict[str, Any], shape: tuple[int, int], mask_rule: Any) -> np.ndarray:
    """Return the expert's mask on the source's own grid: from the shard where it is the same, else from the source."""
    if row["mask"].shape == shape:
        return np.asarray(row["mask"])
    try:
        mask = reference_mask(row["mask_uri"], row["slice_index"], mask_rule, row.get("image_uri", ""))
    except StorageError as err:
        reason = type(err.__cause__ or err).__name__  # its text may hold the name of the file
        raise DataError(
            err.code, f"The reference mask could not be read ({reason}). Put it back, evaluate again."
        ) from err
    if mask.shape != shape:
        raise DataError(
            "vanished",
            f"Mask is {mask.shape[1]}×{mask.shape[0]} px now, {shape[1]}×{shape[0]} when the dataset was prepared. "
            "Prepare the dataset again.",
        )
    return mask
