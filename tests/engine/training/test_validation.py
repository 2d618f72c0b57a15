"""What validation keeps of a patient, with a stand-in for the network."""

import numpy as np
import pytest

from tasks.core.config.learning import TrainingConfig
from tasks.core.labels import pack_labels
from tasks.core.quality import sample_slice
from tasks.core.small_lesions import SmallLesions
from tasks.engine.training.validation import ValidationBatch, sample_masks, validate

pytestmark = pytest.mark.tf

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 16, 16)).astype(np.uint8)
MASKS = (RNG.random((4, 16, 16)) < 0.2).astype(np.uint8)
MASKS[1] = 0


class Seeing:
    """Stand-in for a learner: what is bright is lesion, what is dark is lung."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return lesion and lung."""
        return np.stack([images, 255 - images])

    def forward(self, images: np.ndarray, *_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return losses and outputs."""
        return np.zeros(len(images), np.float32), self.predict(images)


def _batches() -> list[ValidationBatch]:
    """Return one case of four slices in two batches, the second padded."""
    labels = pack_labels(MASKS, np.ones_like(MASKS))
    batches = []
    for part in (slice(0, 3), slice(3, 4)):
        n = len(IMAGES[part])
        columns = {
            "case_id": np.array(["case"] * n),
            "slice_index": np.arange(4)[part],
            "patient_id": np.array(["anna"] * n),
            "image": IMAGES[part],
            "labels": labels[part],
            "has_lung": np.ones(n, bool),
        }
        batches.append(ValidationBatch.padded(columns, 3))
    return batches


@pytest.mark.parametrize(("rule", "counts"), [("max_false_lesions", True), ("best_dice", False)])
def test_false_lesions_are_counted_for_the_rule_that_needs_them(rule: str, *, counts: bool) -> None:
    """They cost time, so no other rule has them."""
    training = TrainingConfig.model_validate({"operating_point": rule})
    _, _, histograms = validate(Seeing(), _batches(), training)  # type: ignore[arg-type]
    assert (histograms["anna"].false_lesions is not None) == counts


def test_masks_are_sampled_from_all_that_the_network_says() -> None:
    """Quality of each slice with lesion: its probability, its image and its lung; small lesions of all slices."""
    found, small = sample_masks(Seeing(), _batches(), TrainingConfig(z_smoothing=False))  # type: ignore[arg-type]
    of_slices = [SmallLesions.of_slice(image, mask) for image, mask in zip(IMAGES, MASKS, strict=True)]
    np.testing.assert_array_equal(small["anna"].n_false, sum(each.n_false for each in of_slices))
    assert small["anna"].n_false.any()
    expected = [sample_slice(IMAGES[n], IMAGES[n], 255 - IMAGES[n], MASKS[n]) for n in (0, 2, 3)]
    assert found.patients == ("anna",) * 3
    np.testing.assert_array_equal(found.values, np.array(expected))
