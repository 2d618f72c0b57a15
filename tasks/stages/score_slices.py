"""How slices are scored in Ray's workers: who scores whom, and counts on the source's own grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.core.catalog import MaskRule
from tasks.core.errors import DataError, StorageError, as_refusal
from tasks.core.geometry import resize_slice_to, restore_probability
from tasks.core.metrics import Counts, binary_cross_entropy, count_pixels
from tasks.core.operating_point import ProbabilityHistogram, probability_histogram
from tasks.core.panels import PALETTE, comparison
from tasks.core.postprocess import drop_small_lesions, threshold_probability
from tasks.core.rows import FailureRow
from tasks.core.schemas import ModelCard
from tasks.io.formats.raster import write_png
from tasks.io.outputs import datasets
from tasks.io.outputs.datasets import SliceRow
from tasks.stages.chunk import Loaded, Predicted
from tasks.stages.labelled_pairs import reference_mask


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


@dataclass(frozen=True, slots=True)
class Picture:
    """The slice a patient is shown by.

    Attributes:
        n_lesion: Reference lesion pixels in it.
        png: Image, prediction and reference side by side; empty where there is nothing to see.
    """

    n_lesion: int = -1
    png: bytes = b""


@dataclass(frozen=True, slots=True)
class PatientScore:
    """What is summed up over a patient's slices.

    Attributes:
        source: Collection the patient comes from.
        by: Who scored it.
        n_slices: Slices scored.
        counts: Pixels on the source's grid.
        histogram: Probabilities on the model's grid.
        loss: Sum over slices of the binary cross-entropy on the model's grid.
        picture: The slice with the largest lesion, of equal ones the first.
    """

    source: str
    by: Scorer
    n_slices: int = 0
    counts: Counts = field(default_factory=Counts)
    histogram: ProbabilityHistogram = field(default_factory=ProbabilityHistogram.empty)
    loss: float = 0.0
    picture: Picture = field(default_factory=Picture)

    def __add__(self, later: "PatientScore") -> "PatientScore":
        return PatientScore(
            source=self.source,
            by=self.by,
            n_slices=self.n_slices + later.n_slices,
            counts=self.counts + later.counts,
            histogram=self.histogram + later.histogram,
            loss=self.loss + later.loss,
            picture=max(self.picture, later.picture, key=lambda picture: picture.n_lesion),
        )


@dataclass(frozen=True, slots=True)
class ShardScore:
    """What a shard adds to its patients; of its pixels there is one picture a patient.

    Attributes:
        uri: Of the shard.
        patients: Scores by `patient_id`.
        failures: Slices that could not be scored.
    """

    uri: str
    patients: dict[str, PatientScore]
    failures: list[FailureRow]


def load_shard(view: View, shard_uris: Sequence[str]) -> Loaded:
    """Return a shard's slices of the view's patients, which may be none; as the rest, its URI and their rows."""
    (uri,) = shard_uris
    found = datasets.read_shard(uri)
    rows = [row for row in found if row["patient_id"] in view.patients]
    images = np.stack([row["image"] for row in rows]) if rows else np.empty((0, *found[0]["image"].shape), np.uint8)
    return Loaded(images, (uri, rows), n_held=2 * images.nbytes, n_read=2 * images.nbytes)


def score_shard(
    shards: Sequence[Predicted], *, view: View, min_lesion_px: int, mask_rule: MaskRule
) -> tuple[list[ShardScore], int]:
    """Return the scores of a shard's patients; nothing is written."""
    (shard,) = shards
    uri, rows = shard.rest
    patients: dict[str, PatientScore] = {}
    failures: list[FailureRow] = []
    for row, probability in zip(rows, shard.probability, strict=True):
        so_far = patients.get(row["patient_id"], PatientScore(row["source"], view.by))
        try:
            reference = _source_reference(row, mask_rule)
        except Exception as err:  # noqa: BLE001 - the boundary of one mask
            refused = as_refusal(err)
            failures.append(
                FailureRow(uri=row["mask_uri"], error_code=refused.code, error=refused.sentence, where=refused.where)
            )
            continue
        mask = threshold_probability(restore_probability(probability, reference.shape), view.by.threshold)
        prediction, _ = drop_small_lesions(mask, min_lesion_px)
        patients[row["patient_id"]] = so_far + PatientScore(
            source=row["source"],
            by=view.by,
            n_slices=1,
            counts=count_pixels(prediction, reference),
            histogram=probability_histogram(probability, row["mask"]),
            loss=binary_cross_entropy(probability, row["mask"]),
            picture=_picture(row["image"], prediction, reference, best=so_far.picture),
        )
    return [ShardScore(uri, patients, failures)], 0


def _picture(image: np.ndarray, prediction: np.ndarray, reference: np.ndarray, *, best: Picture) -> Picture:
    """Return the picture of a slice, if there is something to see, and more than in the best so far."""
    n_lesion = int(np.count_nonzero(reference))
    if n_lesion <= best.n_lesion or not (n_lesion or prediction.any()):
        return Picture()
    shown = comparison(resize_slice_to(image, reference.shape), prediction=prediction, reference=reference)
    return Picture(n_lesion, write_png(shown, PALETTE))


def _source_reference(row: SliceRow, mask_rule: MaskRule) -> np.ndarray:
    """Return the expert's mask on the source's own grid: from the shard where it is the same, else from the source.

    Raises:
        DataError: If it cannot be read any more, or has become another.
    """
    shape = (row["source_height"], row["source_width"])
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
