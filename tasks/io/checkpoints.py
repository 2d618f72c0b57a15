"""Checkpoints of a training: after each epoch all it needs to continue, so that an abort costs one epoch at most.

`checkpoints/<digest>/epoch-<n>.npz` below the bundle's URI, one object per put; the digest is that of the
request, so that another request never continues from it. The best weights are beside it, as in the bundle.
"""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any, Self

import numpy as np

from tasks.core.addresses import shown_uri
from tasks.core.errors import ModelError
from tasks.core.history import TrainingOutcome
from tasks.core.learning_rate import Plateau
from tasks.core.probability_histogram import FalseLesions, ProbabilityHistogram
from tasks.core.quality import QualitySamples
from tasks.core.small_lesions import SmallLesions
from tasks.io import storage

FOLDER = "checkpoints"
SIDES = ("lesion", "healthy")
SMALL_SIDES = ("n_right", "n_false")
N_DIGEST_HEX = 16


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Checkpoint of a training after some epochs.

    Attributes:
        outcome: History so far, best epoch and its histograms.
        is_over: Whether the training has ended.
        weights: Weights of the network, in its own order.
        optimizer: Variables of the optimizer, in its own order.
        stopping: State of early stopping.
        slowing: State of reduce-on-plateau.
        learning_rate: Learning rate of reduce-on-plateau.
    """

    outcome: TrainingOutcome
    is_over: bool
    weights: Sequence[np.ndarray]
    optimizer: Sequence[np.ndarray]
    stopping: Plateau
    slowing: Plateau
    learning_rate: float

    @property
    def n_epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.outcome.history)

    def to_bytes(self) -> bytes:
        """Return the checkpoint as NumPy's .npz, with small parts as JSON in one array."""
        by_kind = {"single": self.outcome.histograms, "flipped": self.outcome.flipped}
        small = {
            "history": self.outcome.history,
            "best_epoch": self.outcome.best_epoch,
            "patients": {kind: list(histograms) for kind, histograms in by_kind.items()},
            "quality_patients": self.outcome.quality.patients,
            "small_patients": list(self.outcome.small),
            "is_over": self.is_over,
            "stopping": asdict(self.stopping),
            "slowing": asdict(self.slowing),
            "learning_rate": self.learning_rate,
        }
        arrays = {f"weight_{index:04d}": value for index, value in enumerate(self.weights)}
        arrays |= {f"optimizer_{index:04d}": value for index, value in enumerate(self.optimizer)}
        for kind, histograms in by_kind.items():
            for side in SIDES:
                arrays[f"{kind}_{side}"] = np.array([getattr(each, side) for each in histograms.values()], np.int64)
            counted = [each.false_lesions for each in histograms.values() if each.false_lesions is not None]
            if counted:
                arrays[f"{kind}_false_lesions"] = np.array([found.by_level for found in counted], np.int64)
                arrays[f"{kind}_scans"] = np.array([found.n_scans for found in counted], np.int64)
        arrays["quality"] = self.outcome.quality.values
        for side in SMALL_SIDES:
            arrays[f"small_{side}"] = np.array([getattr(each, side) for each in self.outcome.small.values()], np.int64)
        arrays["small"] = np.frombuffer(json.dumps(small).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return the checkpoint that `to_bytes` wrote; nothing is unpickled."""
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            small: dict[str, Any] = json.loads(file["small"].tobytes())  # Any: JSON
            by_kind = {}
            for kind, patients in small["patients"].items():
                false_lesions: Iterable[FalseLesions | None] = repeat(None)
                if f"{kind}_scans" in file:
                    counted = zip(file[f"{kind}_false_lesions"], file[f"{kind}_scans"].tolist(), strict=True)
                    false_lesions = (FalseLesions(*found) for found in counted)
                histograms = map(ProbabilityHistogram, *(file[f"{kind}_{side}"] for side in SIDES), false_lesions)
                by_kind[kind] = dict(zip(patients, histograms, strict=True))
            small_lesions = map(SmallLesions, *(file[f"small_{side}"] for side in SMALL_SIDES))
            return cls(
                outcome=TrainingOutcome(
                    small["history"],
                    small["best_epoch"],
                    by_kind["single"],
                    by_kind["flipped"],
                    QualitySamples(tuple(small["quality_patients"]), file["quality"]),
                    dict(zip(small["small_patients"], small_lesions, strict=True)),
                ),
                is_over=small["is_over"],
                weights=[file[name] for name in sorted(file.files) if name.startswith("weight_")],
                optimizer=[file[name] for name in sorted(file.files) if name.startswith("optimizer_")],
                stopping=Plateau(**small["stopping"]),
                slowing=Plateau(**small["slowing"]),
                learning_rate=small["learning_rate"],
            )


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Folder of the checkpoints of one training."""

    folder: str

    @classmethod
    def of(cls, model_uri: str, digest: str) -> Self:
        """Return the checkpoints of a training for a bundle.

        Args:
            model_uri: URI of the bundle.
            digest: Digest of all that decides the outcome.
        """
        return cls(storage.join(model_uri, FOLDER, digest[:N_DIGEST_HEX]))

    @staticmethod
    def remove_all(model_uri: str) -> None:
        """Remove the checkpoints of every training for a bundle."""
        storage.remove_tree(storage.join(model_uri, FOLDER))

    def publish(self, checkpoint: Checkpoint, best_weights: bytes | None) -> None:
        """Publish a checkpoint, then remove the one it replaces.

        Args:
            checkpoint: State of the training.
            best_weights: Content of the weight file, if its last epoch is the best.
        """
        outcome = checkpoint.outcome
        if best_weights is not None:
            storage.publish(self._best_uri(outcome.best_epoch), best_weights)
        storage.publish(storage.join(self.folder, f"epoch-{checkpoint.n_epochs:05d}.npz"), checkpoint.to_bytes())
        newest, best = (f"{n:05d}" for n in (checkpoint.n_epochs, outcome.best_epoch))
        for found in storage.list_objects(self.folder):
            kind, _, number = found.path.partition(".")[0].partition("-")
            if (kind, number < newest) == ("epoch", True) or (kind, number < best) == ("best", True):
                storage.remove(found.uri)

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint, or None if no epoch was finished."""
        if not storage.exists(self.folder):
            return None
        uris = [found.uri for found in storage.list_objects(self.folder) if found.path.startswith("epoch-")]
        return Checkpoint.from_bytes(storage.read_bytes(max(uris))) if uris else None

    def result(self) -> tuple[TrainingOutcome, bytes]:
        """Return the outcome of the training and the weight file of its best epoch.

        Raises:
            ModelError: If no epoch was finished.
        """
        checkpoint = self.latest()
        if checkpoint is None:
            raise ModelError(f"Training ended, but {shown_uri(self.folder)} holds no epoch. Train again.")
        return checkpoint.outcome, self.best_weights(checkpoint.outcome.best_epoch)

    def best_weights(self, epoch: int) -> bytes:
        """Return the weight file of the best epoch so far."""
        return storage.read_bytes(self._best_uri(epoch))

    def _best_uri(self, epoch: int) -> str:
        return storage.join(self.folder, f"best-{epoch:05d}.weights.h5")
