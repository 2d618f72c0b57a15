"""Trained networks of a bundle: one network, or the ensemble of all folds."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.core.config.learning import TrainingConfig
from tasks.core.history import TrainingOutcome
from tasks.core.schemas import WEIGHTS_FILE, EnsembleMember
from tasks.engine.training.folds import Fold
from tasks.io.outputs.bundles import FOLDS_FOLDER, HISTORY_FILE, SELF_TEST_FILE


@dataclass(frozen=True, slots=True)
class TrainedNetworks:
    """Trained networks of a bundle and their outcomes.

    Attributes:
        outcomes: Outcome of each training.
        weights: Content of each network's weight file.
        members: Networks of an ensemble; empty for a single network.
    """

    outcomes: Sequence[TrainingOutcome]
    weights: Sequence[bytes]
    members: tuple[EnsembleMember, ...]

    @classmethod
    def of(cls, folds: Sequence[Fold], asked: TrainingConfig) -> "TrainedNetworks":
        """Return the networks in the checkpoints of finished trainings.

        Raises:
            ModelError: If one of them finished no epoch.
        """
        outcomes, weights = zip(*(fold.run.checkpoints.result() for fold in folds), strict=True)
        return cls(outcomes, weights, members_of(folds, outcomes, asked) if len(folds) > 1 else ())

    @property
    def outcome(self) -> TrainingOutcome:
        """Joint outcome of all trainings."""
        return TrainingOutcome.of_folds(self.outcomes) if self.members else self.outcomes[0]


def members_of(
    folds: Sequence[Fold], outcomes: Sequence[TrainingOutcome], asked: TrainingConfig
) -> tuple[EnsembleMember, ...]:
    """Return the networks of an ensemble, each with the operating point for its held-out patients.

    It is chosen on the held-out patients of all other folds, so that no patient affects their own operating point.

    Args:
        folds: Folds of the cross-validation.
        outcomes: Outcome of each fold, with the histograms of its held-out patients.
        asked: Parameters, which may set the operating point.
    """
    members = []
    for index, fold in enumerate(folds):
        others = TrainingOutcome.of_folds([other for other in outcomes if other is not outcomes[index]])
        point = others.operating_point(asked)
        folder = f"{FOLDS_FOLDER}/{index}"
        member = EnsembleMember(
            weights_file=f"{folder}/{WEIGHTS_FILE}",
            self_test_file=f"{folder}/{SELF_TEST_FILE}",
            history_file=f"{folder}/{HISTORY_FILE}",
            held_out=fold.held_out,
            threshold=point.threshold,
            test_time_flips=point.flips,
            min_lesion_px=point.min_lesion_px,
        )
        members.append(member)
    return tuple(members)
