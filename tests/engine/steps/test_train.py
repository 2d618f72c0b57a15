import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import ray
import tensorflow as tf

from flows.train_model import train_model
from tasks.core import quality
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.errors import ModelError
from tasks.core.history import CURVES
from tasks.core.landmarks import apply_rule
from tasks.core.learning_rate import warmup_cosine
from tasks.core.metrics import count_pixels, dice
from tasks.core.postprocess import threshold_probability
from tasks.core.smoothing import smooth_along_z
from tasks.engine.inference.predictor import Predictor
from tasks.engine.network.model import build_model, load_weights
from tasks.engine.training.epoch_plan import plan_training
from tasks.engine.training.slice_loading import load_slices
from tasks.engine.training.slice_store import training_stream
from tasks.engine.training.trainer import Learner
from tasks.io.outputs import bundles, datasets
from tests.conftest import MILD, MODEL, NO_CHANGE, TRAINING, Trained
from tests.core.samples import QUALITY
from tests.engine.steps.conftest import WINDOW

pytestmark = [pytest.mark.ray, pytest.mark.tf, pytest.mark.server]


def test_offline_imagenet_is_one_clear_sentence(trained: Trained, tmp_path: Path) -> None:
    """A mirror that cannot be reached is named with the two ways out, before a worker starts."""
    unreachable = ModelConfig(
        backbone="resnet34", encoder_weights="http://127.0.0.1:9/resnet34_imagenet_1000_no_top.h5"
    )
    with pytest.raises(ModelError, match=r"Set model\.encoder_weights to none \(random\), or to the URI of a mirror"):
        train_model(trained.dataset_uri, str(tmp_path / "model"), model=unreachable, training=TRAINING)


@pytest.mark.soak
def test_a_training_without_numbers_publishes_nothing(trained: Trained, tmp_path: Path) -> None:
    """Weights that are no numbers would give empty masks, as of healthy patients: the run ends and says what to set."""
    network = build_model(MODEL.architecture, MODEL.backbone, decoder_filters=MODEL.decoder_filters)
    encoder = tf.keras.Model(network.input, network.get_layer("relu1").output)
    encoder.set_weights([np.full_like(value, np.nan) for value in encoder.get_weights()])
    encoder.save_weights(tmp_path / "encoder.h5")
    digest = hashlib.sha256((tmp_path / "encoder.h5").read_bytes()).hexdigest()
    of_no_numbers = MODEL.model_copy(
        update={"encoder_weights": (tmp_path / "encoder.h5").as_uri(), "encoder_weights_sha256": digest}
    )
    with pytest.raises(ModelError, match=r"diverged in epoch 1: [1-9][0-9,]* weights not finite"):
        train_model(trained.dataset_uri, str(tmp_path / "model"), model=of_no_numbers, training=TRAINING, augment=MILD)
    assert not (tmp_path / "model" / "model.json").exists()


@pytest.mark.soak
def test_nothing_is_chosen_by_validation_patients_without_lesions(trained: Trained, tmp_path: Path) -> None:
    """There is no Dice to choose by: the last epoch is kept, and the card says so and warns of it."""
    dataset = tmp_path / "dataset"
    shutil.copytree(trained.dataset_uri, dataset)
    for shard in datasets.list_shards(str(dataset), "val"):
        rows = datasets.read_shard(shard)
        datasets.write_shard(shard, [{**row, "mask": np.zeros_like(row["mask"])} for row in rows])
    train_model(str(dataset), str(tmp_path / "model"), model=MODEL, training=TRAINING, augment=MILD)
    card = bundles.read_card(str(tmp_path / "model"))
    assert (card.best_epoch, card.threshold, card.test_time_flips) == (TRAINING.epochs, 0.4, False)
    assert "no validation patient has lesions" in card.threshold_choice
    assert any("without looking" in warning for warning in card.warnings)


def test_a_bundle_of_another_network_is_no_start(trained: Trained, tmp_path: Path) -> None:
    """Weights of another backbone are refused by what was found and what was asked."""
    other = ModelConfig(backbone="resnet34", encoder_weights="none", start_from=trained.model_uri)
    with pytest.raises(ModelError, match="holds a unet on resnet18, a unet on resnet34 was asked for"):
        train_model(trained.dataset_uri, str(tmp_path / "model"), model=other, training=TRAINING)


def test_two_workers_go_on_from_a_bundle_as_one_would(
    trained: Trained, volume_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On slices of volumes, with BatchNorm frozen: losses and weights are those of one learner with the same batches.

    The card names the bundle they started from, how CT values become its input, and the calibration that was made of
    the validation patients.
    """
    calibrated: list[set[str]] = []
    monkeypatch.setattr(
        quality, "fit_quality", lambda _, __, patients, **___: calibrated.append({*patients}) or QUALITY
    )
    frozen = TRAINING.model_copy(
        update={"epochs": 1, "num_workers": 2, "freeze_batchnorm": True, "precision": "float32"}
    )
    warm = MODEL.model_copy(update={"start_from": trained.model_uri})
    n_before = _n_train_workers()
    train_model(str(volume_dataset), str(tmp_path / "model"), model=warm, training=frozen, augment=NO_CHANGE)
    assert _n_train_workers() == n_before + 2
    bundle, parent = (bundles.read_bundle(uri) for uri in (str(tmp_path / "model"), trained.model_uri))
    assert (bundle.card.parent_digest, bundle.card.hu) == (parent.card.digest, WINDOW)
    assert {*bundle.card.quality} == {QUALITY}
    splits = datasets.read_card(str(volume_dataset)).assignments
    assert calibrated[0] == {patient for patient, split in splits.items() if split == "val"}
    files = {"model.weights.h5", "self_test.npz", "history.csv", *(f"curves/{name}.png" for name in CURVES)}
    assert bundle.card.files.keys() == files
    assert not (tmp_path / "model" / "checkpoints").exists()
    learner, loss = _learned_alone(str(volume_dataset), parent.weights[0], frozen)
    [epoch] = bundles.read_history(str(tmp_path / "model"))
    assert float(epoch["train_loss"]) == pytest.approx(loss, rel=1e-4)
    n_outputs = len(parent.card.outputs)
    together = build_model(
        MODEL.architecture, MODEL.backbone, decoder_filters=MODEL.decoder_filters, n_outputs=n_outputs
    )
    load_weights(together, bundle.weights[0])
    for one, two in zip(learner.plain.get_weights(), together.get_weights(), strict=True):
        assert np.linalg.norm(two - one) <= 1e-4 * max(np.linalg.norm(one), 1e-12)


def _n_train_workers() -> int:
    """Return how many workers Ray Train has started in this session."""
    return sum(actor["ActorClassName"] == "RayTrainWorker" for actor in ray._private.state.actors().values())


def _learned_alone(dataset_uri: str, first_weights: bytes, training: TrainingConfig) -> tuple[Learner, float]:
    """Take the first epoch's batches in this process, and return the learner and the mean loss."""
    store = load_slices(dataset_uri, "train", rule=MODEL.intensity_rule)
    plan = plan_training(
        store.index,
        epochs=range(1),
        batch_size=training.batch_size,
        lesion_free_fraction=training.lesion_free_fraction,
        seed=training.seed,
    )
    stream = training_stream(
        store, plan, batch_size=training.batch_size, rank=0, num_workers=1, augment=NO_CHANGE, seed=training.seed
    )
    strategy = tf.distribute.get_strategy()
    learner = Learner(MODEL, training, strategy, n_workers=1, n_outputs=2, first_weights=first_weights)
    loss = weight = 0.0
    for step, batch in enumerate(stream.iter_batches(batch_size=training.batch_size)):
        rate = warmup_cosine(
            step, n_steps=plan.steps_per_epoch, steps_per_epoch=plan.steps_per_epoch, peak=training.learning_rate
        )
        share = (batch[name] for name in ("image", "labels", "weight", "has_lung"))
        of_step = learner.step(*share, learning_rate=rate)
        loss, weight = loss + of_step[0], weight + of_step[1]
    return learner, loss / weight


@pytest.mark.soak
@pytest.mark.parametrize("asked", [True, False])
def test_the_operating_point_is_that_of_what_is_predicted(trained: Trained, tmp_path: Path, *, asked: bool) -> None:
    """The Dice at which the threshold was chosen is what the bundle, flipping or not, reaches on the same patients."""
    training = TRAINING.model_copy(update={"test_time_flips": asked})
    train_model(trained.dataset_uri, str(tmp_path / "model"), model=MODEL, training=training, augment=MILD)
    card = bundles.read_card(str(tmp_path / "model"))
    assert (card.test_time_flips, card.n_predictions) == (asked, 4 if asked else 1)
    shards = datasets.list_shards(trained.dataset_uri, "val")
    rows = [row for shard in shards for row in datasets.read_shard(shard)]
    predictor = Predictor.from_bundle(bundles.read_bundle(str(tmp_path / "model")), precision="float32", batch_size=4)
    images = apply_rule(np.stack([row["image"] for row in rows]), card.intensity_rule)  # one patient, one case
    found = threshold_probability(smooth_along_z(predictor.predict(images)[0]), card.threshold)
    reached = dice(count_pixels(found, np.stack([row["mask"] for row in rows])))
    chosen_at = float(card.threshold_choice.rpartition("mean Dice ")[2].split(",")[0])  # one patient
    assert chosen_at == pytest.approx(reached, abs=1e-3)
