import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.test_time_flips import MIN_LEVEL, MIRRORED_AXES, predict_in_batches, predict_with_flips

SLICES = hnp.arrays(np.uint8, st.tuples(st.integers(0, 7), st.just(4), st.just(4)))


def _lopsided(images: np.ndarray) -> np.ndarray:
    """A predictor of two outputs that sees less the further right and down a pixel lies."""
    fade = np.linspace(1, 0.2, images.shape[1])[:, np.newaxis] * np.linspace(1, 0.5, images.shape[2])
    return np.stack([np.rint(images * fade), np.rint(images * fade.T)]).astype(np.uint8)


@given(SLICES, st.integers(1, 5))
def test_any_number_of_slices_goes_through_a_fixed_batch(images: np.ndarray, batch_size: int) -> None:
    """Every call has the batch size, and the answers are those of all slices at once."""

    def predict(batch: np.ndarray) -> np.ndarray:
        assert len(batch) == batch_size
        return _lopsided(batch)

    answer = predict_in_batches(predict, images, batch_size=batch_size)
    np.testing.assert_array_equal(answer, _lopsided(images))


@given(SLICES)
def test_flips_are_the_mean_over_mirror_images_where_something_was_seen(images: np.ndarray) -> None:
    """By hand, slice by slice; the others keep their first look."""
    answer = predict_with_flips(_lopsided, images)
    assert answer.shape == (2, *images.shape)
    for index, image in enumerate(images):
        first = _lopsided(image[np.newaxis])
        looks = [
            np.flip(_lopsided(np.flip(image[np.newaxis], axes)), tuple(axis + 1 for axis in axes))
            for axes in MIRRORED_AXES
        ]
        expected = np.rint(np.mean([first, *looks], axis=0)) if (first[0] >= MIN_LEVEL).any() else first
        np.testing.assert_array_equal(answer[:, index], expected[:, 0])


def test_empty_slices_cost_one_look() -> None:
    """Of three slices one has something to see: three first looks, three more of that one."""
    images, n_predicted = np.zeros((3, 4, 4), np.uint8), []
    images[1] = 255

    def predict(batch: np.ndarray) -> np.ndarray:
        n_predicted.append(len(batch))
        return batch[np.newaxis]

    predict_with_flips(predict, images)
    assert n_predicted == [3, 3]
