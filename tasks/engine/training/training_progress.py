"""Progress of the trainings of a step, from where each of them is."""

import time
from collections.abc import Callable, Mapping, Sequence

from tasks.core.throughput import ReportProgress, StepProgress
from tasks.engine.training.epoch_plan import steps_per_epoch_of
from tasks.engine.training.journal import Position
from tasks.engine.training.training_run import TrainingRun


class TrainingProgress:
    """Progress over all epochs of all trainings; the last epochs count as done if one ends early."""

    def __init__(
        self, runs: Sequence[TrainingRun], report_progress: ReportProgress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report_progress, self._clock = report_progress, clock
        self._batch_size = {run.name: run.training.batch_size for run in runs}
        self._steps = {run.name: steps_per_epoch_of(run.train, run.training) for run in runs}
        self._epochs = {run.name: run.n_epochs for run in runs}
        self._over: set[str] = set()
        self._begun: tuple[float, int] | None = None

    def end(self, name: str) -> None:
        """Count a training as done."""
        self._over.add(name)

    def report(self, positions: Mapping[str, Position | None]) -> None:
        """Report the progress, once a training has made its first step.

        Args:
            positions: Position of each running training, by the training's name.
        """
        known = {name: position for name, position in positions.items() if position is not None}
        n_done = sum(self._n_slices(name) for name in self._over)
        n_done += sum(self._n_slices(name, position) for name, position in known.items())
        if not known and not self._over:
            return
        if self._begun is None:
            self._begun = self._clock(), n_done
        begun_at, n_before = self._begun
        self._report_progress(
            StepProgress(
                n_all=sum(map(self._n_slices, self._steps)),
                n_done=n_done,
                n_before=n_before,
                seconds=self._clock() - begun_at,
                place="; ".join(self._place(name, position) for name, position in known.items()),
            )
        )

    def _n_slices(self, name: str, position: Position | None = None) -> int:
        """Return the slices of a training up to a position, or of all of it."""
        n_steps = self._steps[name] * (self._epochs[name] if position is None else position.epoch - 1)
        return self._batch_size[name] * (n_steps + (0 if position is None else position.n_steps))

    def _place(self, name: str, position: Position) -> str:
        step = "validation" if position.is_validating else f"step {position.n_steps} of {self._steps[name]}"
        return f"{name}epoch {position.epoch} of {self._epochs[name]}, {step}"
