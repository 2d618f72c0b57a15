"""Pretrained weights of encoders: fetched, and used only if their digest is the declared one."""

import hashlib

from tasks.core.addresses import shown_uri
from tasks.core.catalog import backbone_named
from tasks.core.config.learning import ModelConfig
from tasks.core.errors import ModelError, StorageError
from tasks.io import storage

IMAGENET_URL = (
    "https://github.com/qubvel/classification_models/releases/download/0.0.1/{backbone}_imagenet_1000_no_top.h5"
)
"""URL of the encoder weights of segmentation-models."""


def read_encoder_weights(model: ModelConfig) -> bytes | None:
    """Return the content of the encoder's weight file, or None for random weights.

    Raises:
        ModelError: If the file cannot be fetched, or has another digest.
    """
    if model.encoder_weights == "none":
        return None
    is_published = model.encoder_weights == "imagenet"
    uri = IMAGENET_URL.format(backbone=model.backbone) if is_published else model.encoder_weights
    try:
        content = storage.read_bytes(uri)
    except StorageError as err:
        shown = shown_uri(uri)
        raise ModelError(
            f"Could not fetch the encoder weights of {model.backbone} from {shown}; is this machine offline? "
            f"Set model.encoder_weights to none (random), or to the URI of a mirror's {shown.rsplit('/', 1)[-1]}."
        ) from err
    _verify(content, model)
    return content


def _verify(content: bytes, model: ModelConfig) -> None:
    if model.encoder_weights_sha256:
        kind, found, expected = "sha256", hashlib.sha256(content).hexdigest(), model.encoder_weights_sha256
    else:  # md5 is what the publisher declares; it still guards against the wrong or a damaged file
        kind, found = "md5", hashlib.md5(content, usedforsecurity=False).hexdigest()
        expected = backbone_named(model.backbone).imagenet_md5
    if found != expected:
        raise ModelError(
            f"The encoder weights at {shown_uri(model.encoder_weights)} have {kind} {found}, {expected} was expected: "
            "not the published file. If it is meant, set model.encoder_weights_sha256 to its sha256."
        )
