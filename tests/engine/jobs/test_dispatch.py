"""Progress is passed on now and then, and never twice the same; a step finds the Ray that was started for it."""

import contextlib
from types import SimpleNamespace
from typing import get_args

import pytest

from tasks.core.catalog import StepName
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.learning import TrainingConfig
from tasks.core.record import Record
from tasks.core.step_inputs import TrainRequest
from tasks.core.throughput import Progress, StepProgress
from tasks.engine.jobs import dispatch


def _progress(n_done: int) -> Progress:
    return Progress(n_scans=10, n_done=n_done, n_skipped=0, n_failed=0, n_slices=n_done, seconds=1.0)


def test_progress_is_reported_at_once_then_at_intervals_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, one after ten seconds, and the last even if it comes early; unchanged progress is not repeated."""
    clock, reported = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(dispatch, "time", SimpleNamespace(monotonic=lambda: clock.now))
    report_progress = dispatch.at_intervals(reported.append)
    for at_s, n_done in ((0.0, 0), (3.0, 1), (11.0, 2), (12.0, 3), (22.0, 2), (23.0, 10), (24.0, 10), (40.0, 10)):
        clock.now = at_s
        report_progress(_progress(n_done))
    assert [progress.n_done for progress in reported] == [0, 2, 10]


def test_progress_that_only_ages_is_not_repeated_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose first line can wait reports at the first interval, and the end once, while seconds go on."""
    clock, reported = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(dispatch, "time", SimpleNamespace(monotonic=lambda: clock.now))
    report_progress = dispatch.at_intervals(reported.append, every_s=60, is_first_due=False)
    for at_s, n_done in ((1.0, 1), (61.0, 5), (70.0, 10), (72.0, 10)):
        clock.now = at_s
        report_progress(StepProgress(10, n_done=n_done, seconds=at_s))
    assert [progress.n_done for progress in reported] == [5, 10]


@pytest.mark.parametrize("step", get_args(StepName))
def test_ray_starts_ahead_as_the_step_would_start_it(monkeypatch: pytest.MonkeyPatch, step: StepName) -> None:
    """With the same CPUs and dashboard, whatever the training's workers are."""
    asked: list[dict[str, object]] = []

    def hold(_: ComputeConfig, n_gpus: int = 0, **asked_of: object) -> contextlib.AbstractContextManager[None]:
        del n_gpus  # a session checks them once Ray has started
        asked.append(asked_of)
        return contextlib.nullcontext()

    monkeypatch.setattr(dispatch, "session", hold)
    monkeypatch.setattr(dispatch, "started_ahead", hold)
    monkeypatch.setattr(dispatch, "resolve_name", lambda _: lambda request, **_: request)
    training = TrainingConfig(num_workers=3, batch_size=9)
    request = TrainRequest.model_construct(training=training) if step == "train" else Record()
    with dispatch.ray_ahead(step, ComputeConfig(), training):
        dispatch.call_step(step, request, compute=ComputeConfig(), report_progress=lambda _: None)
    assert asked[0] == asked[1]
    assert asked[0]["n_reserved_cpus"] == {"train": 3, "segment": 1}.get(step, 0)
