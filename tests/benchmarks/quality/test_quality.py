from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.core.metrics import count_pixels, dice
from tasks.core.naming_rules import SliceIdentity
from tasks.core.phantoms import phantom_scan
from tests.benchmarks.quality import results
from tests.benchmarks.quality.battery import BATTERY, SIDE_PX
from tests.benchmarks.quality.calibration import Ranking, Samples, estimates
from tests.benchmarks.quality.collection import Slices
from tests.benchmarks.quality.protocols import PROTOCOLS, cross_validation, leave_one_source_out
from tests.benchmarks.quality.recipes import RECIPES, Recipe
from tests.benchmarks.quality.results import LEVELS, Result
from tests.benchmarks.quality.review_order import InQueue, queue_of
from tests.benchmarks.quality.rules import outcomes
from tests.benchmarks.quality.views import WHOLE, lung_box

N_PATIENTS = 4


def _slices() -> Slices:
    identities = tuple(
        SliceIdentity(source, f"{source}_{patient}", f"{source}_{patient}", index)
        for source in ("coronacases", "radiopaedia")
        for patient in range(N_PATIENTS)
        for index in range(5)
    )
    pixels = np.random.default_rng(0).integers(0, 2, (len(identities), 4, 4)).astype(np.uint8)
    return Slices(pixels * 200, pixels, pixels, np.ones(len(identities), bool), identities)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_slice_is_trained_on_and_scored(protocol: str) -> None:
    """Whatever the protocol, the slices that train a network and those that score it are apart."""
    for part in PROTOCOLS[protocol](_slices()):
        assert not np.intersect1d(part.train, part.unseen).size
        assert len(part.train)
        assert len(part.unseen)


def test_folds_hold_out_every_patient_once() -> None:
    """Over all folds each patient is unseen exactly once, and never with slices on both sides."""
    slices = _slices()
    unseen = [{slices.identities[index].patient_id for index in part.unseen} for part in cross_validation(slices)]
    assert sorted(patient for fold in unseen for patient in fold) == sorted(slices.source_of)


def test_a_source_that_is_left_out_is_not_trained_on() -> None:
    """Trained on one source, scored on the other."""
    slices = _slices()
    for part in leave_one_source_out(slices):
        sources = [{slices.identities[index].source for index in side} for side in (part.train, part.unseen)]
        assert [len(side) for side in sources] == [1, 1]
        assert sources[0] != sources[1]


@pytest.mark.parametrize("kind", BATTERY)
def test_battery_keeps_masks_in_register(kind: str) -> None:
    """After each change lesions are still brighter than the lung around them, and masks binary."""
    scan = phantom_scan(1, n_slices=9, size_px=SIDE_PX)
    index = int(scan.mask.sum(axis=(1, 2)).argmax())
    image, mask, lung = BATTERY[kind](scan.image[index], scan.mask[index], scan.lung[index])
    assert image.shape == mask.shape == lung.shape == (SIDE_PX, SIDE_PX)
    assert image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert image[mask > 0].mean() > image[(lung > 0) & (mask == 0)].mean() + 10


def test_a_result_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts at every kept level survive the file."""
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    rng = np.random.default_rng(0)
    probability, masks = rng.integers(0, 256, (3, 9, 9)).astype(np.uint8), rng.integers(0, 2, (3, 9, 9))
    histograms = {"all slices": results.add_up("aab", probability, masks)}
    written = Result("screen", "fold0", 3, histograms, slices_per_second=1.5, ms_per_slice=20.0, loss=0.5)
    written.write()
    found = results.read(written.path)
    assert (found.recipe, found.part, found.seed, found.ms_per_slice) == ("screen", "fold0", 3, 20.0)
    for patient, histogram in histograms["all slices"].items():
        for level in LEVELS:
            assert found.histograms["all slices"][patient].counts_at(level) == histogram.counts_at(level)


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Features of empty masks stay unknown."""
    features = np.array([[0.5, 0.25, 4.0, 0.5], [np.nan] * 4])
    written = Samples(["a", "b"], np.array([False, True]), np.array([0.5, 0.0]), features)
    written.write(tmp_path / "samples.csv")
    found = Samples.read(tmp_path / "samples.csv")
    assert (found.patients, found.with_lesion().patients) == (written.patients, ["b"])
    np.testing.assert_array_equal(found.dice, written.dice)
    np.testing.assert_array_equal(found.features, written.features)


def test_a_perfect_estimate_ranks_perfectly_and_a_reversed_one_does_not() -> None:
    """By the Dice itself every figure is 1; by its opposite no low slice is among the worst."""
    true = np.linspace(0, 1, 50)
    perfect, reversed_ = Ranking.of(true, true), Ranking.of(-true, true)
    assert (perfect.area_ratio, perfect.area_roc, perfect.found_in_worst) == (1.0, 1.0, 1.0)
    assert reversed_.area_ratio > 2
    assert (reversed_.area_roc, reversed_.found_in_worst) == (0.0, 0.0)
    assert Ranking.of(np.zeros(50), true).area_roc == 0.5


def test_the_queue_puts_low_masks_first() -> None:
    """What is kept of the defaults: the first fifth holds three of four slices of low Dice that it could."""
    folds = [Samples.read(path) for path in sorted(results.FOLDER.glob("defaults.fold*.slices.csv"))]
    queue = queue_of(folds)
    assert len(queue.dice) == sum(len(fold.dice) for fold in folds)
    low, high = queue.interval()
    assert low < 0.75 <= queue.share_found() < high
    shuffled = np.random.default_rng(0).permutation(len(queue.dice))
    assert InQueue(queue.dice[shuffled], queue.patients, queue.has_mask).share_found() < 0.4


def test_every_fold_is_estimated_by_the_others() -> None:
    """What is kept of the defaults: an estimate and its interval for each slice, empty masks at 0."""
    folds = [Samples.read(path) for path in sorted(results.FOLDER.glob("defaults.fold*.slices.csv"))]
    found = list(estimates(folds))
    assert len(found) == len(folds) >= 3
    for fold, shown in found:
        assert shown.shape == (len(fold.dice), 3)
        assert (shown[np.isnan(fold.features[:, 0])] == 0).all()
        assert ((shown[:, 1] <= shown[:, 0]) & (shown[:, 0] <= shown[:, 2])).all()


def test_rules_keep_their_limits_on_unseen_patients() -> None:
    """On the kept results of the defaults, over splits of patients: precision and recall of the others are as asked."""
    paths = sorted(results.FOLDER.glob("defaults.fold*.json"))
    patients = [of for path in paths for of in results.read(path).histograms["smoothed"].values()]
    asked = (("min_precision", 0.8), ("min_recall", 0.7))
    precise, complete = outcomes(patients, asked=asked, n_splits=10)
    assert (precise.precision or 0) > 0.8 - 0.04
    assert (complete.recall or 0) > 0.7 - 0.04
    assert (precise.recall or 0) > 0.5


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid_parameters(name: str) -> None:
    """Each recipe is made of parameters the product has, and its seed is the one asked for."""
    assert Recipe.named(name, seed=7).training.seed == 7


def test_every_result_belongs_to_a_recipe() -> None:
    """What is kept can be repeated."""
    for path in results.FOLDER.glob("*.json"):
        assert results.read(path).recipe in RECIPES


def test_a_crop_holds_the_lungs_and_is_put_back_where_it_was() -> None:
    """The box around the lungs loses none of them, is smaller than the slice, and returns to its place."""
    scan = phantom_scan(1, n_slices=9, size_px=SIDE_PX)
    shown = [(image, lung) for image, lung in zip(scan.image, scan.lung, strict=True) if lung.mean() > 0.05]
    assert len(shown) > 4
    for image, lung in shown:
        box = lung_box(image)
        assert box != WHOLE
        inside = lung[box.top : box.bottom, box.left : box.right]
        assert inside.sum() == lung.sum()
        back = box.put_back(box.cut(255 * lung, cv2.INTER_NEAREST)) > 127
        assert dice(count_pixels(back.astype(np.uint8), lung)) > 0.98
