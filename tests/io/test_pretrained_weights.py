"""Encoder weights: used only when their digest is the declared one, and missed in one clear sentence."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.core.catalog import BACKBONES, Backbone
from tasks.core.config.learning import ModelConfig
from tasks.core.errors import ModelError
from tasks.io import storage
from tasks.io.pretrained_weights import IMAGENET_URL, read_encoder_weights

CONTENT = b"not the published weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


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


@pytest.mark.parametrize("backbone", BACKBONES)
def test_another_md5_is_refused(mirror: str, backbone: str) -> None:
    """Without a declared sha256 a mirror must hold the published file of that backbone, known by its md5."""
    with pytest.raises(ModelError, match=f"md5 {MD5}, {BACKBONES[backbone].imagenet_md5} was expected") as caught:
        read_encoder_weights(ModelConfig(backbone=backbone, encoder_weights=mirror))
    assert "model.encoder_weights_sha256" in str(caught.value)


def test_the_published_md5_lets_a_mirror_through(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that holds the file the catalogue declares needs no further digest."""
    monkeypatch.setitem(BACKBONES, "tiny", Backbone(imagenet_md5=MD5))
    assert read_encoder_weights(ModelConfig(backbone="tiny", encoder_weights=mirror)) == CONTENT


@pytest.mark.parametrize(
    "uri", ["file:///nowhere/resnet34.h5", "memory://nowhere/resnet34.h5", "http://127.0.0.1:1/resnet34.h5"]
)
def test_an_unreachable_mirror_is_one_clear_sentence(uri: str) -> None:
    """Weights that cannot be fetched give a ModelError that says from where, and the two ways on."""
    with pytest.raises(ModelError) as caught:
        read_encoder_weights(ModelConfig(encoder_weights=uri))
    assert str(caught.value) == (
        f"Could not fetch the encoder weights of resnet34 from {uri}; is this machine offline? "
        "Set model.encoder_weights to none (random), or to the URI of a mirror's resnet34.h5."
    )


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_mirror_that_refuses_is_one_clear_sentence(web_server: str, status: int) -> None:
    """A web server that answers, but not with the file, is as unreachable as one that does not answer."""
    with pytest.raises(ModelError, match="Could not fetch the encoder weights of resnet34"):
        read_encoder_weights(ModelConfig(encoder_weights=f"{web_server}/{status}/resnet34.h5"))


def test_the_published_address_names_the_backbone() -> None:
    """The address is that of segmentation-models' own release, one file a backbone."""
    assert IMAGENET_URL.format(backbone="resnet34").endswith("/0.0.1/resnet34_imagenet_1000_no_top.h5")
