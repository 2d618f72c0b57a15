import hashlib
from pathlib import Path

import numpy as np
import pytest

from tasks.core.config.learning import ModelConfig
from tasks.core.errors import ModelError
from tasks.core.schemas import WEIGHTS_FILE
from tasks.io.outputs import bundles
from tasks.stages.first_weights import FirstWeights
from tests.core.samples import MEMBER, MODEL

SELF_TEST = bundles.SelfTest(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 0.5)


def _bundle(folder: Path, **card: object) -> ModelConfig:
    """Publish a bundle, and return the network that would start from it."""
    files = {WEIGHTS_FILE: b"weights", MEMBER.weights_file: b"member", bundles.SELF_TEST_FILE: SELF_TEST.to_bytes()}
    digests = bundles.publish_files(folder.as_uri(), files)
    bundles.publish_card(folder.as_uri(), MODEL.model_copy(update={"files": digests, **card}))
    return ModelConfig(
        backbone=MODEL.backbone,
        architecture=MODEL.architecture,
        decoder_filters=MODEL.decoder_filters,
        intensity_rule=MODEL.intensity_rule,
        start_from=folder.as_uri(),
    )


def test_random_weights_are_no_weights() -> None:
    """Without an encoder and a bundle there is nothing to read."""
    assert FirstWeights.read(ModelConfig(encoder_weights="none")) == FirstWeights(None, None)


def test_an_encoder_has_the_content_of_its_file(tmp_path: Path) -> None:
    """The file is read as it is; the network itself has no weights then."""
    (tmp_path / "encoder.h5").write_bytes(b"encoder")
    asked = ModelConfig(
        encoder_weights=(tmp_path / "encoder.h5").as_uri(),
        encoder_weights_sha256=hashlib.sha256(b"encoder").hexdigest(),
    )
    found = FirstWeights.read(asked)
    assert (found.encoder, found.network, found.parent) == (b"encoder", None, None)


def test_a_bundle_gives_the_whole_network(tmp_path: Path) -> None:
    """Its weights are those of the parent, and no encoder is fetched beside it."""
    found = FirstWeights.read(_bundle(tmp_path))
    assert (found.encoder, found.network) == (None, b"weights")
    assert found.parent is not None
    assert found.parent.card.backbone == MODEL.backbone


def test_a_bundle_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Of an ensemble or of another network nothing is taken; the sentence says what to set."""
    with pytest.raises(ModelError, match="is an ensemble of 1; start from one network"):
        FirstWeights.read(_bundle(tmp_path, members=(MEMBER,)))
    other = _bundle(tmp_path).model_copy(update={"backbone": "resnet18"})
    with pytest.raises(ModelError, match=r"holds a unet on resnet34, a unet on resnet18 .*Set model\.architecture"):
        FirstWeights.read(other)
    narrower = _bundle(tmp_path).model_copy(update={"decoder_filters": 64})
    with pytest.raises(ModelError, match=r"has 256 filters, 64 were asked for\. Set model\.decoder_filters to 256\."):
        FirstWeights.read(narrower)
    with pytest.raises(ModelError, match=r"rule slice_8bit, landmarks was asked for\. Set model\.intensity_rule"):
        FirstWeights.read(_bundle(tmp_path).model_copy(update={"intensity_rule": "landmarks"}))
