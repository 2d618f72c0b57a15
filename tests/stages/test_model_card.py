import numpy as np
import pytest

from tasks.core.catalog import Output
from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.history import TrainingOutcome
from tasks.core.probability_histogram import ProbabilityHistogram
from tasks.core.schemas import ModelCard
from tasks.core.step_inputs import TrainRequest
from tasks.stages.model_card import draft_card, outputs_of
from tests.core.samples import APPEARANCE, DATASET, MEMBER, MODEL

SICK = ProbabilityHistogram(*(np.bincount([level], [100], 256).astype(np.int64) for level in (200, 0)))
HEALTHY = ProbabilityHistogram(np.zeros(256, np.int64), np.bincount([0], [100], 256).astype(np.int64))


def _request(**training: object) -> TrainRequest:
    return TrainRequest(
        dataset_uri="memory://dataset",
        model_uri="memory://model",
        model=ModelConfig(backbone="resnet50", decoder_filters=64, slice_statistics=0.25),
        training=TrainingConfig.model_validate({"test_time_flips": False} | training),
        augment=AugmentConfig(),
    )


def _draft(request: TrainRequest, patient: ProbabilityHistogram = SICK, parent: ModelCard | None = None) -> ModelCard:
    outcome = TrainingOutcome([{"epoch": 1, "val_dice": 0.5, "train_dice": 0.6}], 1, {"a": patient}, {"a": patient})
    return draft_card(request, DATASET, parent=parent, outputs=("lesion",), outcome=outcome, members=(MEMBER,))


def test_a_card_holds_what_predicting_needs() -> None:
    """Input, network and operating point are those of dataset, request and validation; no file is named yet."""
    card = _draft(_request())
    assert (card.input_size_px, card.intensity_rule, card.hu) == (256, "landmarks", DATASET.preparation.hu)
    assert (card.architecture, card.backbone, card.decoder_filters) == ("unet", "resnet50", 64)
    assert (card.slice_statistics, card.test_time_flips, card.min_lesion_px) == (0.25, False, 0)
    assert card.threshold == 102 / 255  # up to 200 all are as good
    assert card.dataset_fingerprint == DATASET.fingerprint
    assert card.validation == {"val_dice": 0.5}
    assert (card.best_epoch, card.members, card.files, card.parent_digest) == (1, (MEMBER,), {}, None)


def test_a_card_holds_the_means_over_validation_patients_at_its_threshold() -> None:
    """From the pixels of each patient: with flips, those of the flipped predictions; undefined where no lesion is."""
    missed = ProbabilityHistogram(SICK.healthy, SICK.lesion)  # all lesion at 0, all else at 200
    outcome = TrainingOutcome([{"epoch": 1}], 1, {"a": missed, "b": SICK}, {"a": SICK, "b": SICK})
    for flips, dice, n_defined in ((False, 0.5, 2), (True, 1.0, 2)):
        request = _request(test_time_flips=flips, threshold=0.4)
        card = draft_card(request, DATASET, parent=None, outputs=("lesion",), outcome=outcome, members=())
        assert (card.validation_mean["dice"]["mean"], card.validation_mean["dice"]["n_defined"]) == (dice, n_defined)
    assert _draft(_request(), HEALTHY).validation_mean["dice"]["n_undefined"] == 1
    assert card.sources == DATASET.sources
    assert card.n_slices_by_split == DATASET.n_slices_by_split


@pytest.mark.parametrize(
    ("training", "patient", "expected"),
    [
        ({}, SICK, "best mean Dice of 1 validation patient, mean Dice 1.000, near ties towards 0.4"),
        ({"folds": 2}, SICK, "best mean Dice of 1 held-out patient, mean Dice 1.000, near ties towards 0.4"),
        ({"threshold": 0.3}, SICK, "set by training.threshold; on 1 validation patient, mean Dice 1.000"),
        (
            {"threshold": 0.3},
            HEALTHY,
            "set by training.threshold, because no validation patient has lesions",
        ),
        ({}, HEALTHY, "default of 0.4, because no validation patient has lesions"),
        (
            {"threshold": 0.3, "test_time_flips": True},
            SICK,
            "set by training.threshold; on 1 validation patient, mean Dice 1.000; with flips (without them 1.000)",
        ),
    ],
)
def test_a_card_says_how_its_threshold_was_chosen(
    training: dict[str, object], patient: ProbabilityHistogram, expected: str
) -> None:
    """Whether it was set or chosen, on how many patients and how well, or that there was nothing to choose by."""
    assert _draft(_request(**training), patient).threshold_choice == expected


def test_a_card_names_its_rule_and_holds_its_curve() -> None:
    """The rule and the scores over thresholds, unless the threshold was set or there was nothing to choose by."""
    chosen = _draft(_request(operating_point="min_recall", operating_value=0.9))
    assert chosen.operating_point == "min_recall"
    assert chosen.threshold_choice.startswith("highest precision with a mean recall of at least 0.9, on 1 validation")
    assert chosen.threshold == 200 / 255
    assert chosen.operating_curve[0] == {
        "threshold": 3 / 255,
        "dice": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "false_lesions": None,
    }
    assert _draft(_request(threshold=0.3)).operating_point is None
    nothing = _draft(_request(), HEALTHY)
    assert (nothing.operating_point, nothing.operating_curve) == (None, ())


def test_a_card_has_the_appearance_of_all_it_was_trained_on() -> None:
    """That of the dataset, and of the bundle it started from."""
    dataset = DATASET.model_copy(update={"appearance": APPEARANCE})
    parent = MODEL.model_copy(update={"appearance": APPEARANCE.model_copy(update={"limit": 2.0})})
    outcome = TrainingOutcome([{"epoch": 1, "val_dice": 0.5}], 1, {"a": SICK}, {})
    for start, n_sources in ((None, 1), (parent, 2)):
        card = draft_card(_request(), dataset, parent=start, outputs=("lesion",), outcome=outcome, members=())
        assert card.appearance is not None
        assert len(card.appearance.sources) == n_sources


def test_a_limit_that_the_patients_do_not_keep_is_a_warning() -> None:
    """A confidence that one patient cannot support is said wherever the bundle is used."""
    found = _draft(_request(operating_point="max_false_negative_rate")).warnings[-1]
    assert "the operating point does not keep what training.operating_point asks for: 1 patient with lesions" in found


def test_a_card_warns_of_what_its_figures_cannot_show() -> None:
    """Warnings of dataset and parent are kept; a parent of another dataset and patients without lesions are added."""
    (own,) = DATASET.warnings
    assert _draft(_request()).warnings == (own,)
    same = MODEL.model_copy(update={"dataset_fingerprint": DATASET.fingerprint, "warnings": ("short",)})
    card = _draft(_request(), parent=same)
    assert card.warnings == (own, "the bundle it started from: short")
    assert card.parent_digest == same.digest
    another = same.model_copy(update={"dataset_fingerprint": "of another", "warnings": ()})
    _, foreign, blind = _draft(_request(), HEALTHY, another).warnings
    assert "started from a bundle of another dataset" in foreign
    assert "no validation patient has lesions" in blind


@pytest.mark.parametrize(
    ("n_lung_masks", "lung_weight", "outputs"),
    [(9, 0.5, ("lesion", "lung")), (0, 0.5, ("lesion",)), (9, 0.0, ("lesion",))],
)
def test_the_lung_is_an_output_where_it_can_be_learned(
    n_lung_masks: int, lung_weight: float, outputs: tuple[Output, ...]
) -> None:
    """Only with lung masks to train on and a weight for them; a bundle that is fine-tuned keeps its outputs."""
    training = TrainingConfig(lung_weight=lung_weight)
    assert outputs_of(training, n_lung_masks, parent=None) == outputs
    for parent in (MODEL, MODEL.model_copy(update={"outputs": ("lesion", "lung")})):
        assert outputs_of(training, n_lung_masks, parent=parent) == parent.outputs
