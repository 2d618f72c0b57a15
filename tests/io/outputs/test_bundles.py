"""A model bundle on storage: nothing is loaded whose digest is not the card's."""

import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.intensity import HuConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.errors import ModelError
from tasks.core.schemas import WEIGHTS_FILE, ModelCard
from tasks.io import storage
from tasks.io.outputs import bundles
from tasks.io.outputs.bundles import SelfTest, read_card, read_curves

IMAGE = np.arange(16, dtype=np.uint8).reshape(4, 4)
PROBABILITY = np.where(IMAGE > 10, 255, 0).astype(np.uint8)
WEIGHTS = bytes(range(256)) * 4


def _card(files: dict[str, str]) -> ModelCard:
    return ModelCard(
        architecture="unet",
        backbone="resnet18",
        input_size_px=32,
        intensity_rule="slice_8bit",
        hu=HuConfig(),
        threshold=0.4,
        threshold_choice="best Dice on the validation patients",
        min_lesion_px=0,
        slice_statistics=0.0,
        test_time_flips=False,
        dataset_uri="gs://bucket/dataset",
        dataset_fingerprint="f" * 64,
        model=ModelConfig(backbone="resnet18", encoder_weights="none"),
        training=TrainingConfig(),
        augment=AugmentConfig(),
        best_epoch=3,
        validation={"dice": 0.5, "specificity": None},
        versions={"numpy": "2"},
        code_version="0.1.0+abc",
        trained_at=datetime(2024, 5, 6, tzinfo=UTC),
        files=files,
    )


@pytest.fixture
def bundle(root: str) -> str:
    """The URI of a finished bundle."""
    files = {
        WEIGHTS_FILE: WEIGHTS,
        bundles.SELF_TEST_FILE: SelfTest.from_probability(IMAGE, PROBABILITY).to_bytes(),
        bundles.HISTORY_FILE: b"epoch,val_dice\n1,0.25\n2,\n",
        "curves/dice.png": b"picture",
    }
    bundles.publish_card(root, _card(bundles.publish_files(root, files)))
    return root


# ---- the bundle ----------------------------------------------------------------------------------------------------


def test_a_bundle_makes_the_round_trip(bundle: str) -> None:
    """Card, weights, self-test and history are read as they were published."""
    read = bundles.read_bundle(bundle)
    assert read.weights == (WEIGHTS,)
    np.testing.assert_array_equal(read.self_test.image, IMAGE)
    assert read.card == bundles.read_card(bundle)
    assert read.card.validation == {"dice": 0.5, "specificity": None}
    assert bundles.read_history(bundle) == [{"epoch": "1", "val_dice": "0.25"}, {"epoch": "2", "val_dice": ""}]


def test_publish_files_gives_each_files_digest(root: str) -> None:
    """The digests that go into the card are those of the published bytes, by path below the bundle."""
    files = {"b/c.png": b"c", "a.csv": b"a"}
    digests = bundles.publish_files(root, files)
    assert digests == {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    assert storage.read_all([f"{root}/{path}" for path in files]) == list(files.values())


@pytest.mark.parametrize("position", [0, 511, len(WEIGHTS) - 1])
def test_one_changed_byte_in_the_weights_is_refused(bundle: str, position: int) -> None:
    """Weights that differ from the card in a single byte are not loaded; the sentence has both digests."""
    damaged = bytearray(WEIGHTS)
    damaged[position] ^= 1
    found = storage.publish(f"{bundle}/{WEIGHTS_FILE}", bytes(damaged))
    with pytest.raises(ModelError) as caught:
        bundles.read_bundle(bundle)
    assert found in str(caught.value)
    assert hashlib.sha256(WEIGHTS).hexdigest() in str(caught.value)


def test_weights_cut_short_are_refused(bundle: str) -> None:
    """Weights that miss their end are not loaded."""
    storage.publish(f"{bundle}/{WEIGHTS_FILE}", WEIGHTS[:-1])
    with pytest.raises(ModelError, match=WEIGHTS_FILE):
        bundles.read_bundle(bundle)


def test_another_self_test_is_refused(bundle: str) -> None:
    """A self-test from another bundle does not vouch for this one."""
    storage.publish(f"{bundle}/{bundles.SELF_TEST_FILE}", SelfTest(IMAGE, IMAGE, 0.5).to_bytes())
    with pytest.raises(ModelError, match=bundles.SELF_TEST_FILE):
        bundles.read_bundle(bundle)


@pytest.mark.parametrize(
    "content",
    [b"", b"no npz", SelfTest(IMAGE, IMAGE[:2], 0.5).to_bytes(), SelfTest(IMAGE, IMAGE, float("nan")).to_bytes()],
)
def test_a_self_test_that_is_none_is_refused(bundle: str, content: bytes) -> None:
    """Whatever its digest: a bundle may be hostile."""
    card = json.loads(storage.read_bytes(f"{bundle}/model.json"))
    card["files"][bundles.SELF_TEST_FILE] = storage.publish(f"{bundle}/{bundles.SELF_TEST_FILE}", content)
    storage.publish(f"{bundle}/model.json", json.dumps(card).encode())
    with pytest.raises(ModelError, match="self-test"):
        bundles.read_bundle(bundle)


def test_a_file_the_card_does_not_name_is_refused(root: str) -> None:
    """Weights without a digest in the card are not loaded."""
    storage.publish(f"{root}/{WEIGHTS_FILE}", WEIGHTS)
    bundles.publish_card(root, _card({}))
    with pytest.raises(ModelError, match="has no digest of its weights"):
        bundles.read_bundle(root)


@pytest.mark.parametrize(
    "path", ["../x.h5", "curves/../../x.png", "/etc/passwd", "curves\\..\\x.png", "a//b", "a\nb", ""]
)
def test_a_card_that_leads_out_of_its_bundle_is_refused(bundle: str, path: str) -> None:
    """Whoever made it: no file beyond the bundle is read, and none written under its name."""
    card = json.loads(storage.read_bytes(f"{bundle}/model.json"))
    card["files"][path] = "0" * 64
    storage.publish(f"{bundle}/model.json", json.dumps(card).encode())
    with pytest.raises(ModelError, match="a path inside the bundle was expected"):
        read_card(bundle)


def test_curves_that_were_changed_are_refused(bundle: str) -> None:
    """Their digests are in the card as those of weights are."""
    card = json.loads(storage.read_bytes(f"{bundle}/model.json"))
    card["files"]["curves/loss.png"] = "0" * 64
    storage.publish(f"{bundle}/model.json", json.dumps(card).encode())
    storage.publish(f"{bundle}/curves/loss.png", b"PNG")
    with pytest.raises(ModelError, match=r"curves/loss.png of the bundle .* has sha256"):
        read_curves(bundle, read_card(bundle))


def test_a_bundle_without_card_is_not_finished(root: str) -> None:
    """Files without the card, which is written last, are no bundle, and the error says what to do."""
    bundles.publish_files(root, {WEIGHTS_FILE: WEIGHTS})
    for read in (bundles.read_card, bundles.read_bundle):
        with pytest.raises(ModelError, match=r"no model\.json.*Run `lesions train` first"):
            read(root)


def test_the_card_for_readers_lies_beside_the_record_and_decides_nothing(bundle: str) -> None:
    """It shows what the record holds; changed by hand or gone, the bundle is used as before."""
    page = storage.read_bytes(f"{bundle}/{bundles.CARD_PAGE}").decode()
    assert page.startswith("# Model card")
    assert "best Dice on the validation patients" in page
    assert bundles.CARD_PAGE not in read_card(bundle).files
    storage.publish(f"{bundle}/{bundles.CARD_PAGE}", b"noted by hand")
    assert bundles.read_bundle(bundle).weights == (WEIGHTS,)
    storage.remove(f"{bundle}/{bundles.CARD_PAGE}")
    assert bundles.read_bundle(bundle).weights == (WEIGHTS,)


# ---- the self-test -------------------------------------------------------------------------------------------------


def test_a_self_test_makes_the_round_trip() -> None:
    """Image, mask and threshold are the same after writing and reading, to the last bit."""
    before = SelfTest(IMAGE, (IMAGE > 3).astype(np.uint8), 0.1 + 0.2)
    after = SelfTest.from_bytes(before.to_bytes())
    np.testing.assert_array_equal(after.image, before.image)
    np.testing.assert_array_equal(after.mask, before.mask)
    assert after.image.dtype == after.mask.dtype == np.uint8
    assert after.threshold == before.threshold


class _Trap:
    """What an attacker would put into a bundle: unpickling it leaves a trace."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _spring, ("sprung",)


SPRUNG: list[str] = []


def _spring(trace: str) -> str:
    SPRUNG.append(trace)
    return trace


@pytest.mark.parametrize("wrap", ["npz", "npy"])
def test_pickled_content_is_refused_and_never_run(wrap: str) -> None:
    """A self-test that holds pickled objects is refused before any of them is made."""
    trap = np.array([_Trap()], dtype=object)
    buffer = io.BytesIO()
    if wrap == "npz":
        np.savez(buffer, image=trap, mask=trap, threshold=np.float64(0.5), allow_pickle=True)
    else:
        np.save(buffer, trap, allow_pickle=True)
    with pytest.raises(ModelError, match=r"cannot be read \(ValueError\)"):
        SelfTest.from_bytes(buffer.getvalue())
    assert SPRUNG == []


def test_the_self_test_freezes_where_the_prediction_is_least_ambiguous() -> None:
    """The threshold is the lowest at which rounding by four levels changes no pixel, weighed by the pixels above it.

    Levels 0 to 40 hold one pixel each, level 200 holds ten. At level 45 no pixel is within four levels and ten are
    above, (0+1)/(10+1) = 0.091; the best of the others is level 1 with five near and fifty above, 6/51 = 0.118.
    """
    probability = np.array([*range(41), *[200] * 10], np.uint8).reshape(3, 17)
    image = np.zeros_like(probability)
    frozen = SelfTest.from_probability(image, probability)
    assert frozen.threshold == 45 / 255
    assert frozen.mask.sum() == 10
    for moved in (probability.astype(int) - 4, probability.astype(int) + 4):
        np.testing.assert_array_equal(frozen.mask, np.clip(moved, 0, 255) >= 45)


def test_a_clear_prediction_is_frozen_as_it_is() -> None:
    """Of 0 and 255 alone, the lowest threshold beyond rounding is level 5, and the mask is the 255s."""
    frozen = SelfTest.from_probability(IMAGE, PROBABILITY)
    assert frozen.threshold == 5 / 255
    np.testing.assert_array_equal(frozen.mask, IMAGE > 10)


def test_an_empty_prediction_is_frozen_as_empty() -> None:
    """A model that predicts nothing has a self-test that says so."""
    assert not SelfTest.from_probability(IMAGE, np.zeros_like(IMAGE)).mask.any()


@pytest.mark.parametrize("content", [b"", b"{", b'{"architecture": "unet"}', b"[]"])
def test_a_damaged_card_is_named(tmp_path: Path, content: bytes) -> None:
    """A card that is cut short, or of another version, is no parameter's fault."""
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.json is damaged, or was written by another version"):
        bundles.read_card(str(tmp_path))
