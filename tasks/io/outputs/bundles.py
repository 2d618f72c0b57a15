"""Bundle on storage: weights, history, curves and self-tests, with their digests in the card, written last."""

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from zipfile import BadZipFile

import numpy as np

from tasks.core.addresses import shown_uri
from tasks.core.errors import ModelError, StorageError
from tasks.core.pages.model_card import model_card_markdown
from tasks.core.postprocess import threshold_probability
from tasks.core.schemas import WEIGHTS_FILE, ModelCard
from tasks.io import storage
from tasks.io.record_files import read_record

CARD_FILE = "model.json"
CARD_PAGE = "model_card.md"
"""The card for readers. It is not among the files of `model.json`: people may add to it, and nothing reads it."""
SELF_TEST_FILE = "self_test.npz"
HISTORY_FILE = "history.csv"
FOLDS_FOLDER = "folds"
CURVES_FOLDER = "curves"
AGAIN = "Train again or restore the bundle."
NEAR_LEVELS = 4
"""Tolerance of probabilities, in 1/255, for rounding on other hardware and reduced precision."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Self-test of a bundle: a phantom and its expected mask.

    Attributes:
        image: uint8 `(size_px, size_px)`, a phantom.
        mask: uint8 `(size_px, size_px)` of 0 and 1, the prediction when the bundle was made.
        threshold: Probability of the mask; not the operating point, but the least ambiguous threshold.
    """

    image: np.ndarray
    mask: np.ndarray
    threshold: float

    @classmethod
    def from_probability(cls, image: np.ndarray, probability: np.ndarray) -> "SelfTest":
        """Return the self-test of a prediction, at the threshold with the fewest pixels near it, to tolerate rounding.

        Args:
            image: uint8 `(size_px, size_px)`.
            probability: uint8, same shape, in units of 1/255.
        """
        at_level = np.bincount(probability.ravel(), minlength=256)
        at_or_above = at_level[::-1].cumsum()[::-1]
        levels = np.arange(1, 255)
        near = [int(at_level[max(0, level - NEAR_LEVELS) : level + NEAR_LEVELS].sum()) for level in levels]
        level = int(levels[np.argmin((np.array(near) + 1) / (at_or_above[levels] + 1))])
        threshold = level / 255
        return cls(image, threshold_probability(probability, threshold), threshold)

    def to_bytes(self) -> bytes:
        """Return the self-test as an npz file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, image=self.image, mask=self.mask, threshold=np.float64(self.threshold))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "SelfTest":
        """Read an npz file; pickled content is refused.

        Raises:
            ModelError: If it holds no self-test.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                found = cls(arrays["image"], arrays["mask"], float(arrays["threshold"]))
        except (AttributeError, EOFError, KeyError, MemoryError, OSError, TypeError, ValueError, BadZipFile) as err:
            raise ModelError(f"The bundle's self-test cannot be read ({type(err).__name__}). {AGAIN}") from err
        if found.image.ndim != 2 or found.image.shape != found.mask.shape or not 0 <= found.threshold <= 1:
            raise ModelError(f"The bundle's self-test is no slice with its mask and a threshold. {AGAIN}")
        return found


@dataclass(frozen=True, slots=True)
class Bundle:
    """Bundle with verified files: the card, and the weights of each network."""

    card: ModelCard
    weights: tuple[bytes, ...]
    self_test: SelfTest


def publish_files(uri: str, files: Mapping[str, bytes]) -> dict[str, str]:
    """Publish a bundle's files, all but the card, and return their sha256 by path."""
    return {path: storage.publish(storage.join(uri, path), content) for path, content in sorted(files.items())}


def publish_card(uri: str, card: ModelCard) -> None:
    """Publish the card: its page for readers, then the record that completes the bundle."""
    storage.publish(storage.join(uri, CARD_PAGE), model_card_markdown(card).encode())
    storage.publish(storage.join(uri, CARD_FILE), card.model_dump_json(indent=2).encode())


def remove_stale(uri: str, card: ModelCard) -> None:
    """Remove weights and self-tests of an earlier bundle that are not in the card."""
    for found in storage.list_objects(uri):
        is_networks = found.path == WEIGHTS_FILE or found.path.startswith(f"{FOLDS_FOLDER}/")
        if is_networks and found.path not in card.files:
            storage.remove(found.uri)


def read_card(uri: str) -> ModelCard:
    """Return the card of the bundle at a URI.

    Raises:
        ModelError: If no finished bundle is there, or its card is damaged.
    """
    card_uri = storage.join(uri, CARD_FILE)
    if not storage.exists(card_uri):
        raise ModelError(
            f"{shown_uri(uri)} holds no {CARD_FILE}, so no finished model bundle. Run `lesions train` first."
        )
    card = read_record(ModelCard, card_uri, error=ModelError, advice="Train the bundle again.")
    if not card.files.keys() >= set(card.weights_files):
        raise ModelError(f"{shown_uri(card_uri)} has no digest of its weights. Train the bundle again.")
    return card


def read_bundle(uri: str) -> Bundle:
    """Return the bundle at a URI, its weights and self-test verified against the card.

    Raises:
        ModelError: If no finished bundle is there, or a file's digest is not the card's.
    """
    card = read_card(uri)
    return Bundle(
        card,
        weights=tuple(_read_verified(uri, path, card) for path in card.weights_files),
        self_test=SelfTest.from_bytes(_read_verified(uri, SELF_TEST_FILE, card)),
    )


def read_member(uri: str, index: int) -> Bundle:
    """Return one network of an ensemble as a bundle, verified against the card.

    Raises:
        ModelError: If no finished bundle is there, or a file's digest is not the card's.
    """
    card = read_card(uri)
    member = card.members[index]
    return Bundle(
        card.alone(index),
        weights=(_read_verified(uri, member.weights_file, card),),
        self_test=SelfTest.from_bytes(_read_verified(uri, member.self_test_file, card)),
    )


def _read_verified(uri: str, path: str, card: ModelCard) -> bytes:
    try:
        content = storage.read_bytes(storage.join(uri, path))
    except StorageError as err:
        if err.code != "vanished":
            raise
        raise ModelError(f"{path} of the bundle {shown_uri(uri)} is missing. {AGAIN}") from err
    found, expected = hashlib.sha256(content).hexdigest(), card.files.get(path)
    if found != expected:
        raise ModelError(
            f"{path} of the bundle {shown_uri(uri)} has sha256 {found}, its card has {expected}: "
            f"it was changed or half replaced. {AGAIN}"
        )
    return content


def read_history(uri: str) -> list[dict[str, str]]:
    """Return the training history, one row per epoch, values as written."""
    text = storage.read_bytes(storage.join(uri, HISTORY_FILE)).decode()
    return list(csv.DictReader(io.StringIO(text)))


def read_curves(uri: str, card: ModelCard) -> dict[str, bytes]:
    """Return the training curves of a bundle, PNG by name, verified against the card.

    Raises:
        ModelError: If a digest is not the card's.
    """
    return {
        PurePosixPath(path).stem: _read_verified(uri, path, card)
        for path in card.files
        if path.startswith(f"{CURVES_FOLDER}/")
    }
