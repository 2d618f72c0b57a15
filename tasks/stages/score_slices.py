"""Scoring of the slices of a shard, on the source grid."""

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.core.catalog import IntensityRule, MaskRule
from tasks.core.errors import DataError, StorageError, as_refusal
from tasks.core.geometry import restore_probability
from tasks.core.landmarks import apply_rule
from tasks.core.metrics import binary_cross_entropy, count_pixels
from tasks.core.postprocess import area_on_grid, drop_small_lesions, threshold_probability
from tasks.core.probability_histogram import probability_histogram
from tasks.core.rows import FailureRow
from tasks.core.smoothing import smooth_cases
from tasks.io.outputs import datasets
from tasks.io.outputs.datasets import SliceRow
from tasks.stages.case_scores import CaseScore, PackedSlice
from tasks.stages.chunk import Loaded, Predicted
from tasks.stages.labelled_pairs import reference_mask
from tasks.stages.lung_scores import LungScore
from tasks.stages.patient_scores import PatientScore, ShardScore, View


def load_shard(view: View, rule: IntensityRule, shard_uris: Sequence[str]) -> Loaded:
    """Return the slices of a shard that show patients of a view, as the network takes them.

    Args:
        view: Scoring network and its patients.
        rule: Intensity rule of the network.
        shard_uris: One shard.

    Returns:
        Slices; the rest is the shard's URI and the slices' rows.
    """
    (uri,) = shard_uris
    found = datasets.read_shard(uri)
    rows = [row for row in found if row["patient_id"] in view.patients]
    images = np.stack([row["image"] for row in rows]) if rows else np.empty((0, *found[0]["image"].shape), np.uint8)
    n_bytes = 2 * images.nbytes + sum(row["lung"].nbytes for row in rows if row["lung"] is not None)
    return Loaded(apply_rule(images, rule), (uri, rows), n_held=n_bytes, n_read=n_bytes)


def score_shard(
    shards: Sequence[Predicted],
    *,
    view: View,
    z_smoothing: bool,
    mask_rule: MaskRule,
    case_sizes: Mapping[str, int],
) -> tuple[list[ShardScore], int]:
    """Return the scores of a shard's patients.

    Args:
        shards: One shard, with the probabilities of its slices.
        view: Scoring network and its patients.
        z_smoothing: Whether probabilities are smoothed along z, within each case of the shard.
        mask_rule: Rule for the stored values of references.
        case_sizes: Number of slices of each whole case in its source.
    """
    (shard,) = shards
    uri, rows = shard.rest
    patients: dict[str, PatientScore] = {}
    failures: list[FailureRow] = []
    probabilities = shard.probability
    if z_smoothing:
        probabilities = smooth_cases(probabilities, [(row["case_id"], row["slice_index"]) for row in rows])
    lungs = shard.lung if shard.lung is not None else [None] * len(rows)
    for row, probability, lung in zip(rows, probabilities, lungs, strict=True):
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
        area = area_on_grid(view.by.min_lesion_px, len(probability), reference.shape)
        prediction, _ = drop_small_lesions(mask, area)
        patients[row["patient_id"]] = so_far + PatientScore(
            source=row["source"],
            by=view.by,
            n_slices=1,
            counts=count_pixels(prediction, reference),
            histogram=probability_histogram(probability, row["mask"]),
            loss=binary_cross_entropy(probability, row["mask"]),
            picture=so_far.picture.larger(row["image"], prediction, reference, slice_index=row["slice_index"]),
            lung=_lung(row, lung, threshold_probability(probability, view.by.threshold)),
            cases={row["case_id"]: _case(row, prediction, reference, case_sizes)},
        )
    return [ShardScore(uri, patients, failures)], 0


def _lung(row: SliceRow, probability: np.ndarray | None, prediction: np.ndarray) -> LungScore:
    """Return the score of a slice's lung; empty if it has no reference, or the model no such output."""
    if probability is None or row["lung"] is None:
        return LungScore()
    return LungScore.of_slice(probability, row["lung"], prediction=prediction, reference=row["mask"])


def _case(row: SliceRow, prediction: np.ndarray, reference: np.ndarray, case_sizes: Mapping[str, int]) -> CaseScore:
    """Return the contribution of a slice to its case."""
    spacing_mm, packed = row["spacing_mm"], PackedSlice.of(prediction, reference)
    part = CaseScore(
        case_sizes[row["case_id"]],
        (spacing_mm[0], spacing_mm[1], spacing_mm[2]) if spacing_mm else None,
        {row["slice_index"]: packed},
    )
    return part.scored_if_whole()


def _source_reference(row: SliceRow, mask_rule: MaskRule) -> np.ndarray:
    """Return the reference on the source grid: from the shard if the size is the same, else from the source.

    Raises:
        DataError: If it cannot be read any more, or has changed.
    """
    shape = (row["source_height"], row["source_width"])
    if row["mask"].shape == shape:
        return np.asarray(row["mask"])
    try:
        mask = reference_mask(row["mask_uri"], row["slice_index"], mask_rule, row["image_uri"])
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
