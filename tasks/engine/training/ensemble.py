"""Trained networks of a bundle: one, or those of the folds, together an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.core.config.learning import TrainingConfig
from tasks.core.history import TrainingOutcome
from tasks.core.schemas import WEIGHTS_FILE, EnsembleMember
from tasks.engine.training.folds import Fold
from tasks.io.outputs.bundles import FOLDS_FOLDER, HISTORY_FILE, SELF_TEST_FILE


@dataclass(frozen=True, slots=True)
class TrainedNetworks:
    """What the trainings of a bundle left.

    Attributes:
        outcomes: Of each training.
        weights: Content of each network's weight file.
        members: The networks of an ensemble; empty where there is one network.
    """

    outcomes: Sequence[TrainingOutcome]
    weights: Sequence[bytes]
    members: tuple[EnsembleMember, ...]

    @classmethod
    def of(cls, folds: Sequence[Fold], asked: TrainingConfig) -> "TrainedNetworks":
        """Return what finished trainings left in their checkpoints.

        Raises:
            ModelError: If one of them finished no epoch.
        """
        outcomes, weights = zip(*(fold.run.checkpoints.result() for fold in folds), strict=True)
        return cls(outcomes, weights, members_of(folds, outcomes, asked) if len(folds) > 1 else ())

    @property
    def outcome(self) -> TrainingOutcome:
        """Outcome of all trainings together."""
        return TrainingOutcome.of_folds(self.outcomes) if self.members else self.outcomes[0]


def members_of(
    folds: Sequence[Fold], outcomes: Sequence[TrainingOutcome], asked: TrainingConfig
) -> tuple[EnsembleMember, ...]:
    """Return the ensemble's networks, each with the operating point for the patients it never saw.

    That is the best for the patients of all other folds: no patient takes part in choosing their own.

    Args:
        folds: The trainings.
        outcomes: What came of each; the histograms are those of the patients held out.
        asked: What is set for all, and what may be chosen.
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
        )
        members.append(member)
    return tuple(members)
