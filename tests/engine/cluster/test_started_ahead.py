"""Ray that starts ahead of its session: taken over once, stopped in any case, its failure raised by the session."""

import logging
import os

import pytest
import ray

from tasks.core.config.compute import ComputeConfig
from tasks.core.errors import ClusterError
from tasks.engine.cluster import session as module
from tasks.engine.cluster.session import session, started_ahead

HERE = ComputeConfig()


class _Ray:
    """A Ray that starts in no time, or does not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_running = False
        self.starts: list[tuple[int, bool]] = []
        self.error: ClusterError | None = None
        monkeypatch.setattr(module, "_start", self._start)
        monkeypatch.setattr(module, "_stop", self._stop)
        monkeypatch.setattr(module, "_size", lambda _: "1 node")
        monkeypatch.setattr(ray, "is_initialized", lambda: self.is_running)
        monkeypatch.setattr(ray, "cluster_resources", dict)

    def _start(self, _: ComputeConfig, n_reserved_cpus: int, *, has_dashboard: bool) -> None:
        self.starts.append((n_reserved_cpus, has_dashboard))
        if self.error:
            raise self.error
        self.is_running = True

    def _stop(self) -> None:
        self.is_running = False


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> _Ray:
    """A Ray without processes, not yet started."""
    return _Ray(monkeypatch)


def test_the_first_session_takes_it_over_and_ends_it(started: _Ray, caplog: pytest.LogCaptureFixture) -> None:
    """It starts once, with its own parameters; the session says its size, and a later one starts its own."""
    caplog.set_level(logging.INFO, "tasks")
    with started_ahead(HERE, n_reserved_cpus=1, has_dashboard=True):
        assert started.is_running
        with session(HERE, n_reserved_cpus=1, has_dashboard=True), session(HERE):
            assert started.starts == [(1, True)]
        assert not started.is_running
        assert caplog.text.count("cluster: 1 node, ready in") == 1
        with session(HERE):
            assert started.starts == [(1, True), (0, False)]
    assert not started.is_running


def test_nothing_is_left_of_one_that_no_session_took(started: _Ray) -> None:
    """It is stopped, too, where the body fails before its session."""
    with pytest.raises(ZeroDivisionError), started_ahead(HERE):
        raise ZeroDivisionError
    assert started.starts
    assert not started.is_running


def test_its_failure_is_raised_by_the_session(started: _Ray) -> None:
    """Where it would have been raised without a start ahead; a retry then starts anew."""
    started.error = ClusterError("Ray did not start on this machine.")
    with started_ahead(HERE):
        with pytest.raises(ClusterError, match="did not start"), session(HERE):
            pass
        started.error = None
        with session(HERE):
            assert started.is_running
    assert len(started.starts) == 2


def test_a_failure_that_no_session_met_is_none(started: _Ray) -> None:
    """A body that needs no Ray does not fail by it."""
    started.error = ClusterError("Ray did not start on this machine.")
    with started_ahead(HERE):
        pass
    assert len(started.starts) == 1


@pytest.mark.parametrize("address", ["auto", "http://head:8265"])
def test_a_cluster_is_not_started(started: _Ray, address: str) -> None:
    """Whatever has an address runs elsewhere."""
    with started_ahead(ComputeConfig(ray_address=address)):
        assert not started.starts


def test_a_running_ray_is_left_alone(started: _Ray) -> None:
    """What another session holds is neither started again nor stopped."""
    with session(HERE):
        with started_ahead(HERE), session(HERE):
            pass
        assert started.is_running
    assert len(started.starts) == 1


@pytest.mark.parametrize("before", [None, "0"], ids=["unset", "set"])
def test_variables_of_workers_stay_out_of_the_users_process(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """They are there while Ray starts, for its workers to inherit, and afterwards as they were."""
    seen: list[str | None] = []
    monkeypatch.setattr(ray, "init", lambda **_: seen.append(os.environ.get("TF_USE_LEGACY_KERAS")))
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    if before:
        monkeypatch.setenv("TF_USE_LEGACY_KERAS", before)
    module._start_here(1, has_dashboard=False)
    assert seen == ["1"]
    assert os.environ.get("TF_USE_LEGACY_KERAS") == before
