"""Expected quality: features by hand, a fit that finds what is there, intervals that cover, and empty masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from tasks.core.probability_histogram import CURVE_LEVELS
from tasks.core.quality import (
    BIN_EDGES,
    FEATURES,
    Quality,
    QualityCalibration,
    QualityModel,
    QualitySamples,
    fit_quality,
    quality_features,
    sample_slice,
)
from tests.core.samples import QUALITY

N_PATIENTS, N_OF_EACH = 12, 60


def _drawn(seed: int, n_patients: int = N_PATIENTS) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return features, Dice that follows them with an error of 0.1, and patients."""
    rng = np.random.default_rng(seed)
    n = n_patients * N_OF_EACH
    features = np.column_stack(
        [rng.uniform(0.4, 0.95, n), rng.uniform(0, 0.9, n), rng.uniform(2, 8, n), rng.normal(0.4, 0.1, n)]
    )
    dice = np.clip(0.1 + 0.5 * features[:, 0] + 0.3 * features[:, 1] + rng.normal(0, 0.1, n), 0, 1)
    return features, dice, [f"p{index // N_OF_EACH}" for index in range(n)]


def _model(seed: int = 0) -> QualityModel:
    fitted = fit_quality(*_drawn(seed), threshold=0.4)
    assert fitted is not None
    found = QualityModel.of([fitted], 0.4)
    assert found is not None
    return found


def test_features_by_hand() -> None:
    """A square of nine pixels at 0.8 on nothing: its soft Dice, one pixel inside, its size and its contrast to lung."""
    probability, image = np.zeros((2, 9, 9), np.uint8)
    probability[3:6, 3:6] = 204
    image[:] = 50
    image[3:6, 3:6] = 110
    lung = np.full((9, 9), 255, np.uint8)
    found = quality_features(probability, image, lung, threshold=0.5)
    assert found is not None
    assert dict(zip(FEATURES, found.tolist(), strict=True)) == pytest.approx(
        {"confidence": 2 * 7.2 / (9 + 7.2), "thickness": 1 / 9, "size": np.log(10), "contrast": 0.6}, rel=1e-5
    )
    assert quality_features(probability, image, lung, threshold=0.9) is None


PIXELS = hnp.arrays(np.uint8, (8, 8))


@settings(max_examples=40)
@given(PIXELS, PIXELS, st.none() | PIXELS, st.floats(0.01, 0.99))
def test_features_are_finite_whatever_is_predicted(
    probability: np.ndarray, image: np.ndarray, lung: np.ndarray | None, threshold: float
) -> None:
    """With a lung or without; None exactly where the mask is empty."""
    found = quality_features(probability, image, lung, threshold=threshold)
    assert (found is None) == (probability.max() < np.ceil(255 * threshold - 1e-9))
    if found is not None:
        assert np.isfinite(found).all()
        assert 0 <= found[0] <= 1
        assert 0 <= found[1] <= 1


def test_the_fit_finds_what_the_dice_depends_on() -> None:
    """On other slices the expected Dice is off by their own error, and not on one side."""
    model = _model()
    features, dice, _ = _drawn(1)
    off = model.predict(features) - dice
    assert abs(off.mean()) < 0.02
    assert off.std() < 0.12


def test_intervals_cover_nine_slices_of_ten() -> None:
    """Of patients that were not fitted to, within three points; and they are no wider than the error asks for."""
    model = _model()
    features, dice, _ = _drawn(2)
    found = [model.scan([each]) for each in features]
    covered = [of.low - 1e-9 <= value <= of.high + 1e-9 for of, value in zip(found, dice, strict=True)]
    assert abs(np.mean(covered) - 0.9) < 0.03
    assert np.mean([of.high - of.low for of in found]) < 0.4
    assert all(0 <= of.low <= of.expected <= of.high <= 1 for of in found)


def test_patients_weigh_by_the_root_of_their_slices() -> None:
    """A patient with a hundred times the slices, of other Dice, moves the mean, but not all the way."""
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (3 * 20 + 2000, 4))
    dice = np.concatenate([np.full(60, 0.8), np.full(2000, 0.2)])
    found = fit_quality(features, dice, [*np.repeat(["a", "b", "c"], 20).tolist(), *["d"] * 2000], threshold=0.4)
    assert found is not None
    assert 0.25 < found.intercept < 0.7


def test_a_scan_has_the_mean_of_its_slices_weighted_by_pixels() -> None:
    """A slice of 999 pixels and one of 9: the large one decides."""
    model = _model()
    small, large = (np.array([0.9, 0.8, np.log1p(n), 0.4]) for n in (9, 999))
    large[:2] = 0.5, 0.1
    one, other, both = model.scan([small]), model.scan([large]), model.scan([small, large])
    assert both.expected == pytest.approx((9 * one.expected + 999 * other.expected) / 1008)
    assert other.expected < both.expected < one.expected


def test_an_empty_mask_has_the_expected_dice_0() -> None:
    """Never null: what an expert finds is missed by it."""
    assert _model().scan([]) == Quality.of_empty() == Quality(0.0, 0.0, 0.0)


@pytest.mark.parametrize(("n_patients", "n_slices"), [(2, 100), (5, 4)])
def test_too_few_patients_or_slices_are_no_calibration(n_patients: int, n_slices: int) -> None:
    """Then a bundle has none."""
    features, dice, _ = _drawn(0)
    n = n_patients * n_slices
    assert fit_quality(features[:n], dice[:n], [f"p{index % n_patients}" for index in range(n)], threshold=0.4) is None
    assert QualityModel.of([], 0.4) is None
    assert QualityModel.of([QUALITY.model_copy(update={"features": ("another",)})], 0.4) is None


@pytest.mark.parametrize("damage", [{"mean": (0.1,)}, {"low": (-0.1,)}, {"spread": (0.0, 0.1, 0.1, 0.1)}])
def test_a_damaged_calibration_is_refused_when_it_is_read(damage: dict[str, object]) -> None:
    """Where the card is read, not scan by scan."""
    with pytest.raises(ValidationError):
        QualityCalibration.model_validate(QUALITY.model_dump() | damage)


def test_bins_of_few_slices_take_the_residuals_of_all() -> None:
    """Where no slice is expected to be bad, the interval there is that of all others."""
    features, dice, patients = _drawn(0)
    good = dice > 0.75
    found = fit_quality(features[good], dice[good], np.array(patients)[good].tolist(), threshold=0.4)
    assert found is not None
    assert len(found.low) == len(found.high) == len(BIN_EDGES) + 1
    assert all(low < 0 < high for low, high in zip(found.low, found.high, strict=True))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(3, 6))
def test_the_expected_dice_lies_in_its_interval_however_patients_differ(seed: int, n_patients: int) -> None:
    """Also where all patients of a bin are better, or all worse, than is expected of them."""
    rng = np.random.default_rng(seed)
    features, dice, patients = _drawn(seed, n_patients)
    dice = np.clip(dice + np.repeat(rng.normal(0, 0.3, n_patients), N_OF_EACH), 0, 1)
    fitted = fit_quality(features, dice, patients, threshold=0.4)
    assert fitted is not None
    model = QualityModel.of([fitted], 0.4)
    assert model is not None
    for each in features[::7]:
        found = model.scan([each])
        assert 0 <= found.low <= found.expected <= found.high <= 1


def test_masks_at_another_threshold_have_the_calibration_of_it() -> None:
    """The nearest one; where none is near, quality is unknown."""
    calibrations = [QUALITY.model_copy(update={"threshold": at, "intercept": at}) for at in (0.1, 0.2, 0.4)]
    nearest = {asked: QualityModel.of(calibrations, asked) for asked in (0.09, 0.16, 0.42, 0.9)}
    assert [model.intercept if model else None for model in nearest.values()] == [0.1, 0.2, 0.4, None]


def test_samples_are_taken_at_every_threshold() -> None:
    """Features and Dice as at that threshold; none above the highest probability."""
    rng = np.random.default_rng(0)
    probability = rng.integers(0, 190, (16, 16)).astype(np.uint8)
    image, reference = rng.integers(0, 255, (16, 16)).astype(np.uint8), (probability > 100).astype(np.uint8)
    found = sample_slice(probability, image, None, reference)
    for row, level in zip(found, CURVE_LEVELS, strict=True):
        features = quality_features(probability, image, None, threshold=level / 255)
        assert (features is None) == bool(np.isnan(row).all())
        if features is not None:
            mask = probability >= level
            np.testing.assert_allclose(row[:-1], features)
            assert row[-1] == pytest.approx(2 * (mask & (reference > 0)).sum() / (mask.sum() + reference.sum()))


def test_samples_add_up_and_calibrate_at_each_threshold() -> None:
    """Of two folds together; slices whose mask is empty there are left out, and other thresholds have none."""
    features, dice, patients = _drawn(0)
    values = np.full((len(dice), len(CURVE_LEVELS), len(FEATURES) + 1), np.nan, np.float32)
    at = CURVE_LEVELS.index(102)
    values[:, at, :-1], values[:, at, -1] = features, dice
    values[::2, at] = np.nan
    half = len(dice) // 2
    both = QualitySamples(tuple(patients[:half]), values[:half]) + QualitySamples(tuple(patients[half:]), values[half:])
    [found] = both.calibrations()
    assert (found.n_slices, found.n_patients, found.threshold) == (half, N_PATIENTS, 0.4)
    assert QualitySamples.of([], []).values.shape == QualitySamples().values.shape
