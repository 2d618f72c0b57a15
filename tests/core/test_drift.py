"""Scans unlike the training data score above 1, and the further they are, the higher."""

import base64

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.core import drift
from tasks.core.appearance import FEATURES, RESOLUTION, appearance_of
from tasks.core.drift import (
    MAX_FOREIGN_SHARE,
    CollectionDrift,
    DriftScorer,
    TrainingAppearance,
    appearance_of_training,
    joined,
)
from tests.anatomy import anatomy

N_FEATURES = len(FEATURES)
N_SLICES, N_PATIENTS = 2, 40


def _slices(patients: range, *, change=lambda image: image) -> np.ndarray:
    images = [anatomy(patient, number, size_px=96) for patient in patients for number in range(N_SLICES)]
    return np.array([appearance_of(change(image)) for image in images])


FEATURES_OF_ALL = _slices(range(N_PATIENTS))
PATIENT_OF = np.arange(len(FEATURES_OF_ALL)) // N_SLICES


def _training(is_taken: np.ndarray | None = None) -> TrainingAppearance:
    """Return the appearance of forty patients of two sources, or of some of their slices."""
    taken = np.ones(len(PATIENT_OF), bool) if is_taken is None else is_taken
    found = appearance_of_training(
        FEATURES_OF_ALL[taken],
        patients=[f"p{patient}" for patient in PATIENT_OF[taken]],
        sources=["odd" if patient % 2 else "even" for patient in PATIENT_OF[taken]],
    )
    assert found is not None
    return found


def _scorer(training: TrainingAppearance) -> DriftScorer:
    found = DriftScorer.of(training)
    assert found is not None
    return found


SCORER = _scorer(_training())


def test_new_patients_of_the_training_sources_score_below_1() -> None:
    """Most of their slices, and by the median nearly every scan."""
    assert np.mean(SCORER.slices(_slices(range(50, 80))) > 1) < 0.2
    assert sum(SCORER.scan(_slices(range(patient, patient + 1))) > 1 for patient in range(50, 80)) <= 6


@pytest.mark.parametrize(
    "change",
    [
        lambda image: 255 - image,
        lambda image: np.ascontiguousarray(np.rot90(image)),
        lambda image: np.ascontiguousarray(image[24:72, 24:72].repeat(2, 0).repeat(2, 1)),
        lambda image: np.clip(image.astype(int) + 60, 0, 255).astype(np.uint8),
    ],
    ids=["inverted", "turned", "cropped", "brighter"],
)
def test_changed_scans_of_new_patients_score_above_1(change) -> None:
    """Each kind, every patient."""
    assert all(SCORER.scan(_slices(range(patient, patient + 1), change=change)) > 1 for patient in range(50, 60))


def test_the_score_grows_with_the_distance_and_takes_the_nearest_source() -> None:
    """Two sources at 0 and 10 on one axis: 4 is four away, 6 as well, and 13 three."""
    means = np.zeros((2, N_FEATURES))
    means[1, 0] = 10
    scorer = DriftScorer(means, np.stack([np.eye(N_FEATURES)] * 2))
    points = np.zeros((4, N_FEATURES))
    points[:, 0] = 4, 6, 13, 0
    np.testing.assert_allclose(scorer.slices(points) * np.sqrt(N_FEATURES), [4, 4, 3, 0])


def test_the_limit_is_that_of_patients_left_out() -> None:
    """Scores of training slices, their own patient left out, are above 1 in about one of fourteen."""
    training, above = _training(), []
    for patient in range(N_PATIENTS):
        is_own = patient == PATIENT_OF
        scorer = _scorer(_training(~is_own).model_copy(update={"limit": training.limit}))
        above += (scorer.slices(FEATURES_OF_ALL[is_own]) > 1).tolist()
    assert 0.03 <= np.mean(above) <= 0.09


def test_patients_weigh_alike_whatever_the_number_of_their_slices() -> None:
    """Five hundred slices of one patient move the mean no further than one."""
    rng = np.random.default_rng(0)
    few, many = rng.normal(0, 1, (3, N_FEATURES)), rng.normal(6, 0.1, (500, N_FEATURES))
    training = appearance_of_training(
        np.concatenate([few, many]).astype(np.float32), patients=["a", "b", "c", *["d"] * 500], sources=["s"] * 503
    )
    assert training is not None
    assert np.mean(training.sources[0].mean) == pytest.approx(6 / 4, abs=0.3)


def test_copies_of_one_patient_set_no_limit_of_nothing() -> None:
    """Of two patients with the same pictures, the same once more is like them, and a little else is, too."""
    features = np.repeat(FEATURES_OF_ALL[:1], 2, axis=0)
    training = appearance_of_training(features, patients=["a", "b"], sources=["s", "s"])
    assert training is not None
    scorer = _scorer(training)
    assert scorer.scan(features) < 1
    assert scorer.scan(features + 0.3 * np.array(RESOLUTION)) < 1


def test_many_patients_are_left_out_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each patient that is left out costs a fit of all slices: an even choice of them sets the limit."""
    fits: list[int] = []
    fit_all = drift._fit_all
    monkeypatch.setattr(drift, "MAX_LEFT_OUT", 10)
    monkeypatch.setattr(drift, "_fit_all", lambda *of: fits.append(1) or fit_all(*of))
    assert _training().limit > 0
    assert len(fits) == 10 + 1


def test_a_fine_tuned_bundle_knows_the_sources_of_both_trainings() -> None:
    """What either was trained on is not foreign; where one has no appearance, the other's is kept."""
    one = _training(PATIENT_OF % 2 == 0)
    other = _training(PATIENT_OF % 2 == 1)
    both = joined(one, other)
    assert both is not None
    assert (both.sources, both.limit) == (one.sources + other.sources, max(one.limit, other.limit))
    assert np.mean(_scorer(both).slices(FEATURES_OF_ALL) > 1) < 0.1
    assert joined(None, one) == joined(one, None) == one
    assert joined(one.model_copy(update={"features": ("another",)}), other) == other


def test_no_name_of_a_source_is_stored() -> None:
    """It may be a word of a file name, and bundles are handed on."""
    assert "odd" not in _training().model_dump_json()


@pytest.mark.parametrize(("patients", "sources"), [(["a", "a", "a"], ["s"] * 3), (["a", "b", "c"], ["s", "t", "u"])])
def test_without_two_patients_of_a_source_there_is_no_limit(patients: list[str], sources: list[str]) -> None:
    """Nobody can be left out: then nothing is scored."""
    features = np.zeros((len(patients), N_FEATURES), np.float32)
    assert appearance_of_training(features, patients=patients, sources=sources) is None
    assert DriftScorer.of(None) is None


def test_the_appearance_of_other_features_is_not_used() -> None:
    """A bundle of a version that measured something else has no scores."""
    assert DriftScorer.of(_training().model_copy(update={"features": ("another",)})) is None


def test_an_appearance_comes_back_from_json() -> None:
    """As it is stored in a bundle."""
    again = _scorer(TrainingAppearance.model_validate_json(_training().model_dump_json()))
    np.testing.assert_array_equal(again.precisions, SCORER.precisions)


@pytest.mark.parametrize(("n_foreign", "is_warned"), [(0, False), (2, False), (3, True), (10, True)])
def test_a_collection_is_warned_of_beyond_a_share_of_its_scans(n_foreign: int, *, is_warned: bool) -> None:
    """Up to a fifth of ten scans nothing is said; beyond, the sentence has the figures. Others have no score."""
    assert MAX_FOREIGN_SHARE == 0.2
    found = CollectionDrift.of([None, *[2.0] * n_foreign, *[0.5] * (10 - n_foreign)])
    assert found is not None
    assert (found.n_scans, found.n_foreign) == (10, n_foreign)
    warnings = [*found.warnings()]
    assert len(warnings) == is_warned
    if warnings:
        assert warnings[0].startswith(f"drift: {n_foreign} of 10 scans look unlike the training data")
    assert CollectionDrift.of([None]) is CollectionDrift.of([]) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"covariance": "AACAPw=="},
        {"covariance": "no base 64"},
        {"covariance": base64.b64encode(np.zeros((N_FEATURES, N_FEATURES), np.float32)).decode()},
        {"mean": [0.0]},
    ],
    ids=["too small", "no numbers", "singular", "another size"],
)
def test_a_damaged_appearance_is_refused_when_it_is_read(damage: dict[str, object]) -> None:
    """Where the card is read, not scan by scan."""
    stored = _training().model_dump(mode="json")
    stored["sources"][0] |= damage
    with pytest.raises(ValidationError):
        TrainingAppearance.model_validate(stored)
