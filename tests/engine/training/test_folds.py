from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.train_model import train_model
from tasks.core.config.learning import TrainingConfig
from tasks.core.errors import ConfigError
from tasks.core.history import EpochRow, TrainingOutcome
from tasks.core.probability_histogram import ProbabilityHistogram
from tasks.core.small_lesions import SmallLesions
from tasks.core.step_inputs import TrainRequest
from tasks.engine.training.ensemble import members_of
from tasks.engine.training.folds import Fold, folds_of
from tasks.io.outputs import datasets
from tasks.stages.first_weights import FirstWeights
from tasks.stages.patient_scores import Scorer, views
from tests.conftest import IN_FOLDS, MILD, MODEL
from tests.core.samples import MEMBER
from tests.core.samples import MODEL as CARD


def _outcome(patient: str, best_level: int) -> TrainingOutcome:
    """Return a fold whose one patient is best segmented at a level: lesion pixels at it, healthy ones just below."""
    lesion, healthy = np.zeros(256, np.int64), np.zeros(256, np.int64)
    lesion[best_level], healthy[best_level - 20], healthy[0] = 100, 100, 1000
    return TrainingOutcome(histograms={patient: ProbabilityHistogram(lesion, healthy)})


def _folds(patients: Sequence[str]) -> list[Fold]:
    return [Fold(run=None, held_out=(patient,)) for patient in patients]  # type: ignore[arg-type]  # not looked at


def test_no_patient_takes_part_in_choosing_their_threshold() -> None:
    """Each network's threshold is the best for the patients of the other folds."""
    asked = TrainingConfig(test_time_flips=False)
    members = members_of(_folds("ab"), [_outcome("a", 60), _outcome("b", 220)], asked)
    assert [member.held_out for member in members] == [("a",), ("b",)]
    assert 200 / 255 < members[0].threshold <= 220 / 255
    assert 40 / 255 < members[1].threshold <= 60 / 255


def test_a_threshold_that_was_set_holds_for_all() -> None:
    """Nothing is chosen where the user has chosen."""
    asked = TrainingConfig(threshold=0.3, test_time_flips=False)
    members = members_of(_folds("ab"), [_outcome("a", 60), _outcome("b", 220)], asked)
    assert {member.threshold for member in members} == {0.3}


def test_no_patient_takes_part_in_choosing_their_smallest_lesion() -> None:
    """The patients of the other folds lose nothing below 4 px; of their own 30 right pixels would be lost."""
    outcomes = []
    for index, patients in enumerate(("abc", "def")):
        folds = [_outcome(patient, 102) for patient in patients]
        n_right, n_false = np.full((12, 5), 30 * index), np.ones((12, 5), int)
        small = {patient: SmallLesions(n_right, n_false) for patient in patients}
        histograms = {patient: fold.histograms[patient] for patient, fold in zip(patients, folds, strict=True)}
        outcomes.append(TrainingOutcome(histograms=histograms, small=small))
    members = members_of(_folds(["abc", "def"]), outcomes, TrainingConfig(test_time_flips=False))
    assert [member.min_lesion_px for member in members] == [0, 24]


def test_no_patient_takes_part_in_choosing_whether_they_are_flipped() -> None:
    """Flips help one patient of two: the other is predicted with them, that one is not."""
    helped, harmed = _outcome("helped", 100), _outcome("harmed", 100)
    blurred = ProbabilityHistogram(*(np.full(256, 4) for _ in range(2)))  # nothing tells lesion from the rest
    helped = replace(helped, histograms={"helped": blurred}, flipped=helped.histograms)
    harmed = replace(harmed, flipped={"harmed": blurred})
    members = members_of(_folds(["helped", "harmed"]), [helped, harmed], TrainingConfig(test_time_flips=None))
    assert [member.test_time_flips for member in members] == [False, True]


@pytest.mark.ray
@pytest.mark.server
def test_a_fold_is_trained_on_all_patients_but_its_own(dataset_uri: str, tmp_path: Path) -> None:
    """Train and held-out rows of each fold are all slices, and share no patient."""
    request = TrainRequest(
        dataset_uri=dataset_uri, model_uri=tmp_path.as_uri(), model=MODEL, training=IN_FOLDS, augment=MILD
    )
    dataset, random = datasets.read_card(dataset_uri), FirstWeights(None, None)
    folds = folds_of(request, dataset, random)
    assert len({fold.run.checkpoints for fold in folds}) == 2
    for fold in folds:
        seen, held_out = (set(rows.column("patient_id").to_pylist()) for rows in (fold.run.train, fold.run.val))
        assert held_out == set(fold.held_out)
        assert not seen & held_out
        assert len(fold.run.train) + len(fold.run.val) == len(fold.run.store.index) == 40
        assert fold.run.keeps_last


def test_every_patient_is_scored_once_by_who_never_saw_them() -> None:
    """Those held out by their network at its threshold, new ones by all at the bundle's, and nobody twice."""
    members = tuple(
        MEMBER.model_copy(update={"held_out": held_out, "threshold": threshold, "test_time_flips": flips})
        for held_out, threshold, flips in ((("a", "b"), 0.3, True), (("c",), 0.6, False), (("d",), 0.7, True))
    )
    card = CARD.model_copy(update={"members": members, "threshold": 0.5, "test_time_flips": True})
    found = [(view.by, view.patients) for view in views(card, {"a", "c", "d", "new"})]
    assert found == [
        (Scorer(0, 0.3, test_time_flips=True), {"a"}),
        (Scorer(1, 0.6, test_time_flips=False), {"c"}),
        (Scorer(2, 0.7, test_time_flips=True), {"d"}),
        (Scorer(None, 0.5, test_time_flips=True, min_lesion_px=3), {"new"}),
    ]
    assert [view.by.member for view in views(card, {"c"})] == [1]
    assert [view.patients for view in views(CARD, {"a", "c"})] == [{"a", "c"}]


def test_the_history_of_folds_adds_pixels_and_takes_ratios_anew() -> None:
    """Precision follows from the counts beside it, losses are means, and the number of folds is said."""

    def row(tp: int, fp: int, loss: float) -> EpochRow:
        zeros = dict.fromkeys([f"{side}_{n}" for side in ("train", "val") for n in ("tp", "fp", "fn", "tn")], 0)
        return zeros | {"epoch": 1, "val_tp": tp, "val_fp": fp, "val_loss": loss, "val_precision": 0.123}

    [together] = TrainingOutcome.of_folds(
        [TrainingOutcome([row(3, 1, 0.2)]), TrainingOutcome([row(1, 5, 0.4)])]
    ).history
    assert (together["epoch"], together["n_folds"], together["val_tp"]) == (1, 2, 4)
    assert together["val_precision"] == pytest.approx(4 / 10)
    assert together["val_loss"] == pytest.approx(0.3)


@pytest.mark.ray
@pytest.mark.server
def test_more_folds_than_patients_are_refused(dataset_uri: str, tmp_path: Path) -> None:
    """Before anything is trained."""
    many = IN_FOLDS.model_copy(update={"folds": 6})
    with pytest.raises(ConfigError, match="6 folds need as many"):
        train_model(dataset_uri, str(tmp_path / "model"), model=MODEL, training=many)
