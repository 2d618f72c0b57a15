"""Cases are scored as volumes once all their slices are there, in whatever shards these lie."""

from pathlib import Path

import numpy as np
import pytest

from tasks.core.metrics import count_pixels
from tasks.core.patient_metrics import PATIENT_METRICS, CaseMasks, score_case
from tasks.core.phantoms import phantom_scan
from tasks.core.postprocess import threshold_probability
from tasks.core.smoothing import smooth_along_z
from tasks.io.outputs import datasets
from tasks.stages.case_scores import CaseScore, PackedSlice, add_cases, patient_figures, volumes_ml
from tasks.stages.chunk import Predicted
from tasks.stages.patient_scores import Scorer, View
from tasks.stages.score_slices import load_shard, score_shard
from tests.stages.bright import see_bright

RNG = np.random.default_rng(0)
MASKS = (RNG.random((2, 6, 9, 11)) < 0.2).astype(np.uint8)
SPACING_MM = (5.0, 0.8, 0.7)


def _part(numbers: range | list[int], *, n_slices: int = 6, masks: np.ndarray = MASKS) -> CaseScore:
    slices = {number: PackedSlice.of(*masks[:, number]) for number in numbers}
    return CaseScore(n_slices, SPACING_MM, slices).scored_if_whole()


def test_a_packed_slice_is_the_slice() -> None:
    """Also where its pixels do not fill whole bytes."""
    np.testing.assert_array_equal(PackedSlice.of(*MASKS[:, 0]).unpack(), MASKS[:, 0])


@pytest.mark.parametrize("cuts", [[range(6)], [range(2), range(2, 6)], [range(4, 6), range(1), range(1, 4)]], ids=str)
def test_parts_add_up_to_the_whole(cuts: list[range]) -> None:
    """One shard or three, in any order: the metrics are those of the volume, and the masks are let go."""
    first, *others = (_part(cut) for cut in cuts)
    assert first.values is None or len(cuts) == 1
    whole = sum(others, first)
    assert whole.values == score_case(CaseMasks(*MASKS, spacing_mm=SPACING_MM))
    assert whole.slices == {}


def test_a_case_with_a_slice_missing_is_undefined() -> None:
    """A slice that could not be scored leaves the case open; a number that no slice has makes it no volume."""
    assert patient_figures([_part(range(5))]) == dict.fromkeys(PATIENT_METRICS)
    assert _part([0, 1, 3], n_slices=3).values == dict.fromkeys(PATIENT_METRICS)


def test_slices_of_two_sizes_are_no_volume() -> None:
    """Slices of a case that differ in size cannot be one array."""
    other = CaseScore(2, None, {1: PackedSlice.of(*MASKS[:, 1, :4])})
    assert (CaseScore(2, None, {0: PackedSlice.of(*MASKS[:, 0])}) + other).values == dict.fromkeys(PATIENT_METRICS)


def test_cases_of_a_patient_are_averaged() -> None:
    """Parts are added by case; a patient's figure is the mean over their cases."""
    empty = np.zeros_like(MASKS)
    cases = add_cases({"a": _part(range(3))}, {"a": _part(range(3, 6)), "b": _part(range(6), masks=empty)})
    a, b = (score_case(CaseMasks(*masks)) for masks in (MASKS, empty))
    figures = patient_figures(cases.values())
    assert figures["false_lesions_per_scan"] == pytest.approx((a["false_lesions_per_scan"] or 0) / 2)
    assert figures["lesion_recall"] == a["lesion_recall"]
    assert b["lesion_recall"] is None


def _shard(folder: Path, name: str, numbers: range) -> str:
    """Write slices of one phantom as a shard; return its URI."""
    scan = phantom_scan(3, n_slices=6, size_px=64)
    rows = [
        datasets.SliceRow(
            case_id="case",
            slice_index=number,
            patient_id="patient",
            source="clinic",
            image=scan.image[number],
            mask=scan.mask[number],
            lung=None,
            image_uri="",
            mask_uri="",
            lung_uri=None,
            source_height=64,
            source_width=64,
            spacing_mm=[*SPACING_MM],
        )
        for number in numbers
    ]
    uri = datasets.shard_uri(str(folder), "test", name)
    datasets.write_shard(uri, rows)
    return uri


def test_a_case_that_lies_in_two_shards_is_scored_whole(tmp_path: Path) -> None:
    """Each shard is scored by itself, with a model that sees brightness; their sum has the metrics of the volume."""
    view, scores = View(Scorer(), {"patient"}), []
    for name, numbers in (("0", range(4)), ("1", range(4, 6))):
        loaded = load_shard(view, "slice_8bit", [_shard(tmp_path, name, numbers)])
        predicted = Predicted(loaded.images, loaded.rest, see_bright(loaded.images))
        [shard], _ = score_shard([predicted], view=view, z_smoothing=False, mask_rule="binary", case_sizes={"case": 6})
        scores.append(shard.patients["patient"])
    assert scores[0].cases["case"].values is None
    scan = phantom_scan(3, n_slices=6, size_px=64)
    whole = score_case(CaseMasks(see_bright(scan.image) // 255, scan.mask, SPACING_MM))
    case = (scores[0] + scores[1]).cases["case"]
    assert (case.values, case.spacing_mm) == (whole, SPACING_MM)
    assert whole["volume_error"] not in (None, 0.0)


def test_smoothed_along_z_a_case_has_the_counts_of_the_smoothed_volume(tmp_path: Path) -> None:
    """A patient's counts are those of the probabilities smoothed within their case."""
    view, scan = View(Scorer(), {"patient"}), phantom_scan(3, n_slices=6, size_px=64)
    loaded = load_shard(view, "slice_8bit", [_shard(tmp_path, "0", range(6))])
    probability = see_bright(loaded.images)
    rules = {"view": view, "mask_rule": "binary", "case_sizes": {"case": 6}}
    [shard], _ = score_shard([Predicted(loaded.images, loaded.rest, probability)], z_smoothing=True, **rules)
    smooth = threshold_probability(smooth_along_z(probability), 0.5)
    assert shard.patients["patient"].counts == count_pixels(smooth, scan.mask)
    assert smooth.sum() != (probability > 0).sum()


def test_small_lesions_are_removed_before_scoring_as_they_will_be_in_new_scans(tmp_path: Path) -> None:
    """Of the network that scores the patient; the area is that at the model's size, here that of the source."""
    loaded = load_shard(View(Scorer(), {"patient"}), "slice_8bit", [_shard(tmp_path, "0", range(6))])
    probability = np.zeros_like(see_bright(loaded.images))
    probability[2, 10:12, 10:14] = 255
    rules = {"z_smoothing": False, "mask_rule": "binary", "case_sizes": {"case": 6}}
    for min_lesion_px, n_predicted in ((8, 8), (9, 0)):
        view = View(Scorer(min_lesion_px=min_lesion_px), {"patient"})
        [shard], _ = score_shard([Predicted(loaded.images, loaded.rest, probability)], view=view, **rules)
        counts = shard.patients["patient"].counts
        assert counts.tp + counts.fp == n_predicted


def test_volumes_of_a_patient_add_up_over_their_cases() -> None:
    """Voxels times spacing, predicted and reference; none where a case is not whole or has no spacing."""
    voxel_ml = 5.0 * 0.8 * 0.7 / 1000
    predicted, reference = (int(mask.sum()) for mask in MASKS)
    assert volumes_ml([_part(range(6)), _part(range(6))]) == pytest.approx(
        (2 * predicted * voxel_ml, 2 * reference * voxel_ml)
    )
    without_spacing = CaseScore(6, None, {n: PackedSlice.of(*MASKS[:, n]) for n in range(6)}).scored_if_whole()
    assert volumes_ml([]) is volumes_ml([_part(range(6)), _part(range(5))]) is volumes_ml([without_spacing]) is None
