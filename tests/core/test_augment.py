import random
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from tasks.core.augment import augment_slice, augmentation_seed, build_augmentation
from tasks.core.config.augmentation import AugmentConfig
from tasks.core.landmarks import STANDARD_LUNG

NOTHING = AugmentConfig(**dict.fromkeys(AugmentConfig.model_fields, 0))
SEEDS = range(20)


def _strongest(field: str) -> float:
    """Return the largest value the form takes for a field."""
    schema: dict[str, Any] = AugmentConfig.model_json_schema()["properties"][field]  # Any: a JSON schema
    return float(schema["maximum"]) if "maximum" in schema else 0.99 * schema["exclusiveMaximum"]


def _alone(field: str, value: float) -> AugmentConfig:
    return NOTHING.model_copy(update={field: value})


def _noisy_slice() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (64, 64)).astype(np.uint8)


def _disc(radius: int = 10) -> np.ndarray:
    """Return a mask of a disc, off the centre in both directions."""
    return cv2.circle(np.zeros((64, 64), np.uint8), (44, 24), radius, 1, -1)


def _changed(
    config: AugmentConfig, image: np.ndarray, mask: np.ndarray, seeds: range = SEEDS
) -> list[tuple[np.ndarray, np.ndarray]]:
    augmentation = build_augmentation(config)
    return [augment_slice(augmentation, image, mask, seed=seed) for seed in seeds]


@pytest.mark.parametrize("field", AugmentConfig.model_fields)
def test_field_alone_changes_an_image_and_keeps_the_mask_binary(field: str) -> None:
    """Every field at its strongest does something, to a slice of the same shape with a binary mask."""
    image, mask = _noisy_slice(), (_noisy_slice() > 200).astype(np.uint8)
    results = _changed(_alone(field, _strongest(field)), image, mask)
    assert any(not np.array_equal(changed, image) for changed, _ in results)
    for changed, changed_mask in results:
        assert changed.shape == changed_mask.shape == image.shape
        assert changed.dtype == changed_mask.dtype == np.uint8
        assert set(np.unique(changed_mask)) <= {0, 1}


@pytest.mark.parametrize("field", AugmentConfig.model_fields)
def test_image_and_mask_stay_in_register(field: str) -> None:
    """What is bright because it is lesion is still under the mask after the change: both moved alike or neither did."""
    mask = _disc()
    image = np.where(mask > 0, 160, 100).astype(np.uint8)
    contrasts = []
    for changed, changed_mask in _changed(_alone(field, _strongest(field)), image, mask):
        well_inside = cv2.erode(changed_mask, np.ones((3, 3), np.uint8)) > 0
        well_outside = cv2.dilate(changed_mask, np.ones((3, 3), np.uint8)) == 0
        if not well_inside.any() or not well_outside.any():
            continue
        contrast = float(changed[well_inside].mean() - changed[well_outside].mean())
        contrasts.append(contrast)
        if not np.array_equal(changed_mask, mask):  # geometry moves pixels and leaves their values
            assert contrast == pytest.approx(60, abs=2)
    assert np.mean(contrasts) > 20


def test_contrast_to_lung_leaves_lung_at_its_level() -> None:
    """What lies above lung stands out between half and twice as much; lung itself stays where the landmarks put it."""
    image = np.where(_disc() > 0, STANDARD_LUNG + 40, STANDARD_LUNG).astype(np.uint8)
    changed = [image for image, _ in _changed(_alone("lung_contrast", 1.0), image, _disc(), range(60))]
    assert {int(one.min()) for one in changed} == {STANDARD_LUNG}
    above = [int(one.max()) - STANDARD_LUNG for one in changed]
    assert 20 <= min(above) < 25
    assert 70 < max(above) <= 80
    assert np.median(above) == pytest.approx(40, abs=6)


def test_equalisation_amplifies_noise() -> None:
    """Noise is the scanner's: an export that equalises a slice has it in its input, so little contrast becomes much."""
    flat = np.tile(np.linspace(90, 110, 64).astype(np.uint8), (64, 1))
    noisy, equalised = (
        np.mean([image.astype(float).std() for image, _ in _changed(config, flat, _disc())])
        for config in (_alone("noise", 0.1), NOTHING.model_copy(update={"noise": 0.1, "equalisation": 1.0}))
    )
    by_equalisation_alone = np.mean(
        [image.astype(float).std() for image, _ in _changed(_alone("equalisation", 1.0), flat, _disc())]
    )
    assert equalised**2 - by_equalisation_alone**2 > 1.5 * noisy**2


@pytest.mark.parametrize("field", ["tone_curve", "brightness", "contrast", "equalisation", "blur", "noise", "jpeg"])
def test_intensity_leaves_the_mask_alone(field: str) -> None:
    """Light and noise do not move a lesion."""
    mask = _disc()
    for _, changed_mask in _changed(_alone(field, _strongest(field)), _disc() * 90, mask):
        np.testing.assert_array_equal(changed_mask, mask)


def test_everything_at_zero_changes_nothing() -> None:
    """Switched off, the augmentation hands the slice through."""
    image, mask = _noisy_slice(), (_noisy_slice() > 200).astype(np.uint8)
    for changed, changed_mask in _changed(NOTHING, image, mask):
        np.testing.assert_array_equal(changed, image)
        np.testing.assert_array_equal(changed_mask, mask)


@pytest.mark.parametrize(
    ("field", "flip"), [("horizontal_flip", np.fliplr), ("vertical_flip", np.flipud)], ids=["horizontal", "vertical"]
)
def test_flip_is_a_flip_in_the_asked_share_of_draws(field: str, flip: Callable[[np.ndarray], np.ndarray]) -> None:
    """A flip mirrors image and mask exactly, and happens about as often as its probability says."""
    image, mask = _noisy_slice(), (_noisy_slice() > 200).astype(np.uint8)
    results = _changed(_alone(field, 0.25), image, mask, range(200))
    flipped = [(a, b) for a, b in results if not np.array_equal(a, image)]
    for changed, changed_mask in flipped:
        np.testing.assert_array_equal(changed, flip(image))
        np.testing.assert_array_equal(changed_mask, flip(mask))
    assert 30 <= len(flipped) <= 70


def test_quarter_turn_is_one_of_four_rotations_of_image_and_mask() -> None:
    """Each rotation by a multiple of 90 degrees occurs, exactly, and image and mask turn alike."""
    image, mask = _noisy_slice(), (_noisy_slice() > 200).astype(np.uint8)
    seen = set()
    for changed, changed_mask in _changed(_alone("quarter_turns", 1), image, mask, range(60)):
        turns = next(n for n in range(4) if np.array_equal(changed, np.rot90(image, n)))
        np.testing.assert_array_equal(changed_mask, np.rot90(mask, turns))
        seen.add(turns)
    assert seen == {0, 1, 2, 3}


def _centre_px(mask: np.ndarray) -> np.ndarray:
    return np.mean(np.argwhere(mask), axis=0)


def test_shift_stays_within_its_half_range_both_ways() -> None:
    """A tenth of 64 px: at most 6.4 px along each axis, in either direction."""
    mask = _disc()
    moves = np.array(
        [_centre_px(b) - _centre_px(mask) for _, b in _changed(_alone("shift", 0.1), mask, mask, range(60))]
    )
    assert np.abs(moves).max() <= 6.4 + 1
    assert (moves.min(axis=0) < -3).all()
    assert (moves.max(axis=0) > 3).all()


def test_rotation_stays_within_its_half_range_both_ways() -> None:
    """The direction in which a disc lies from the centre turns by at most 15 degrees, to either side."""
    mask = _disc(radius=6)
    middle = np.array([31.5, 31.5])

    def direction(of: np.ndarray) -> float:
        down, right = _centre_px(of) - middle
        return float(np.degrees(np.arctan2(down, right)))

    turns = [direction(b) - direction(mask) for _, b in _changed(_alone("rotate_degrees", 15), mask, mask, range(60))]
    assert max(map(abs, turns)) <= 15 + 2
    assert min(turns) < -8
    assert max(turns) > 8


def test_zoom_stays_within_its_half_range_both_ways() -> None:
    """A fifth either way: the disc's area ends between 0.8² and 1.2² of what it was."""
    mask = cv2.circle(np.zeros((64, 64), np.uint8), (32, 32), 15, 1, -1)
    areas = np.array([b.sum() / mask.sum() for _, b in _changed(_alone("zoom", 0.2), mask, mask, range(60))])
    assert 0.8**2 - 0.05 <= areas.min() < 0.9
    assert 1.1 < areas.max() <= 1.2**2 + 0.05


def test_zoom_in_magnifies_only() -> None:
    """Up to half as large again: the disc's area ends between what it was and 1.5² of it."""
    mask = cv2.circle(np.zeros((64, 64), np.uint8), (32, 32), 15, 1, -1)
    areas = np.array([b.sum() / mask.sum() for _, b in _changed(_alone("zoom_in", 0.5), mask, mask, range(60))])
    assert areas.min() >= 1 - 0.05
    assert 1.8 < areas.max() <= 1.5**2 + 0.05


@pytest.mark.parametrize(
    ("field", "value", "half_range"),
    [("brightness", 0.1, 25.5), ("contrast", 0.25, 25)],
    ids=["brightness", "contrast"],
)
def test_light_stays_within_its_half_range_both_ways(field: str, value: float, half_range: float) -> None:
    """A grey of 100 moves by at most a tenth of 255, or a quarter of itself, the same everywhere in the slice."""
    grey = np.full((8, 8), 100, np.uint8)
    greys = [np.unique(a) for a, _ in _changed(_alone(field, value), grey, np.zeros_like(grey), range(60))]
    assert all(len(values) == 1 for values in greys)
    moves = [float(values[0]) - 100 for values in greys]
    assert max(map(abs, moves)) <= half_range + 1
    assert min(moves) < -half_range / 2
    assert max(moves) > half_range / 2


def test_noise_stays_within_its_deviation() -> None:
    """At most a tenth of full scale, around the grey that was there."""
    grey = np.full((64, 64), 128, np.uint8)
    results = [a.astype(float) for a, _ in _changed(_alone("noise", 0.1), grey, np.zeros_like(grey), range(40))]
    deviations = [a.std() for a in results]
    assert max(deviations) <= 25.5 * 1.1
    assert max(deviations) > 12
    assert [a.mean() for a in results] == pytest.approx([128] * 40, abs=2.5)


def test_same_seed_same_change_whatever_came_before() -> None:
    """A slice's change depends on its seed, not on the order in which a worker meets the slices."""
    image, mask = _noisy_slice(), (_noisy_slice() > 200).astype(np.uint8)
    one, other = build_augmentation(AugmentConfig()), build_augmentation(AugmentConfig())
    forwards = {seed: augment_slice(one, image, mask, seed=seed) for seed in SEEDS}
    backwards = {seed: augment_slice(other, image, mask, seed=seed) for seed in reversed(SEEDS)}
    for seed in SEEDS:
        np.testing.assert_array_equal(forwards[seed][0], backwards[seed][0])
        np.testing.assert_array_equal(forwards[seed][1], backwards[seed][1])
    assert len({image.tobytes() for image, _ in forwards.values()}) == len(SEEDS)


def test_global_random_state_is_left_alone() -> None:
    """Neither NumPy's nor Python's global generator is drawn from or seeded."""
    before = random.getstate(), np.random.get_state(legacy=False)
    _changed(AugmentConfig(), _noisy_slice(), np.zeros((64, 64), np.uint8))
    after = random.getstate(), np.random.get_state(legacy=False)
    assert before[0] == after[0]
    np.testing.assert_equal(before[1], after[1])


def test_inputs_are_not_written_to() -> None:
    """The stored slice is read-only shared memory and must survive being augmented."""
    image, mask = _noisy_slice(), (_noisy_slice() > 200).astype(np.uint8)
    image.flags.writeable = mask.flags.writeable = False
    _changed(AugmentConfig(), image, mask)
    np.testing.assert_array_equal(image, _noisy_slice())


@pytest.mark.parametrize("other", [(1, 2, "case", 3), (0, 3, "case", 3), (0, 2, "cas", 3), (0, 2, "case", 4)])
def test_seed_differs_by_run_epoch_case_and_slice(other: tuple[int, int, str, int]) -> None:
    """Each part of a slice's name changes its seed."""
    assert augmentation_seed(*other) != augmentation_seed(0, 2, "case", 3)


def test_seed_is_the_same_on_every_machine() -> None:
    """The first 32 bits of sha256("0:2:case:3"), big-endian; a change would change every training."""
    assert augmentation_seed(0, 2, "case", 3) == 0x084F2C44


def test_largest_seed_is_taken() -> None:
    """A seed may use all of its 32 bits."""
    image = _noisy_slice()
    changed, _ = augment_slice(build_augmentation(AugmentConfig()), image, np.zeros_like(image), seed=2**32 - 1)
    assert changed.shape == image.shape
