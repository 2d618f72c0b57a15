"""The stream's bookkeeping over a simulated Ray: hundreds of crashes in a second, in many orders."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from tasks.core.errors import DataError
from tasks.engine.inference import model_pool, stream
from tasks.engine.inference.chunks import PredictionSpec
from tasks.engine.inference.stream import BYTES_IN_PROGRESS_FRACTION, CHUNKS_PER_CPU, PredictionStream
from tests.engine.inference.simulated_ray import N_HELD_PER_SLICE, Method, SimulatedRay

Rows = list[tuple[int, int]]
Spec = PredictionSpec[int, tuple[int, int]]
Run = Callable[[SimulatedRay, int, Spec], tuple[Rows, int]]


def _cut(item: int) -> list[int]:
    """Cut every seventh item into three pieces, which are marked by thousands."""
    return [item, item + 1000, item + 2000] if item % 7 == 6 else [item]


def _spec(**changes: object) -> Spec:
    settings = {"load": None, "load_model": None, "finish": None, "chunk_slices": 4, "cut": _cut, "give_up": _give_up}
    return PredictionSpec(**settings | changes)  # type: ignore[arg-type]  # the simulation has stages of its own


def _give_up(item: int, bug: DataError | None) -> tuple[int, int]:
    return item, -1 if bug is None else -2


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """What runs a stream on a simulated Ray; it returns the rows and how many bytes are still counted as held."""

    def run_on(world: SimulatedRay, n_items: int, spec: Spec) -> tuple[Rows, int]:
        for module in (stream, model_pool):
            monkeypatch.setattr(module, "ray", world)
        monkeypatch.setattr(stream, "load_in_worker", Method(world.load))
        monkeypatch.setattr(stream, "finish_in_worker", Method(world.finish))
        monkeypatch.setattr(stream, "ActorPool", world.pool)
        monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: None))
        found = PredictionStream(spec)
        return [row for rows in found.rows(range(n_items)) for row in rows], found._n_bytes

    return run_on


def _rows_but(given_up: Collection[int], n_items: int) -> Rows:
    """Return the rows of all other items; each piece has one of its own."""
    return [(piece, 2 * piece) for item in range(n_items) for piece in _cut(item) if item not in given_up]


@pytest.mark.parametrize("crash_fraction", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("seed", range(20))
def test_every_item_has_its_rows_whatever_crashes(run: Run, seed: int, crash_fraction: float) -> None:
    """Workers and actors that die by chance at any stage cost no item and no row twice, and no bytes stay counted."""
    lost: list[int] = []

    def give_up(item: int, bug: DataError | None) -> tuple[int, int]:
        lost.append(item)
        return _give_up(item, bug)

    world = SimulatedRay(np.random.default_rng(seed), crash_fraction=crash_fraction)
    rows, n_bytes = run(world, 60, _spec(give_up=give_up))
    assert sorted(rows) == sorted([*_rows_but(lost, 60), *((item, -1) for item in lost)])
    assert len(lost) <= 6 * (crash_fraction > 0.05)  # twice alone, by chance
    assert n_bytes == 0


@pytest.mark.parametrize("kind", ["killers", "bugs"])
@pytest.mark.parametrize("stage", ["load", "predict", "finish"])
@pytest.mark.parametrize("seed", range(5))
def test_only_what_kills_is_given_up(run: Run, seed: int, stage: str, kind: str) -> None:
    """One item alone, and one that is in pieces: each is given up with what is known of it, all others have rows."""
    world = SimulatedRay(np.random.default_rng(seed), **{kind: {stage: {9, 1013}}})
    rows, n_bytes = run(world, 30, _spec())
    code = {"killers": -1, "bugs": -2}[kind]
    assert sorted(rows) == sorted([*_rows_but({9, 13}, 30), (9, code), (13, code)])
    assert n_bytes == 0


@pytest.mark.parametrize("seed", range(5))
def test_what_was_recorded_is_not_done_again(run: Run, seed: int) -> None:
    """After a crash the rows that an earlier try recorded are taken, once each; only the rest is done again."""
    asked: Counter[int] = Counter()

    def recall(items: Sequence[int]) -> dict[int, tuple[int, int]]:
        asked.update(items)
        return {index: (item, 0) for index, item in enumerate(items) if item % 2}

    world = SimulatedRay(np.random.default_rng(seed), killers={"finish": {8}})
    rows, _ = run(world, 30, _spec(recall=recall, cut=lambda item: [item]))
    assert asked[8] >= 3
    recalled = {item for item in asked if item % 2}
    assert recalled
    assert sorted(rows) == [(item, -1 if item == 8 else 0 if item in recalled else 2 * item) for item in range(30)]


@pytest.mark.parametrize("n_held", [1, 5, 1000])
def test_no_more_is_in_flight_than_cluster_and_store_allow(run: Run, n_held: int) -> None:
    """Tasks are bounded by CPUs and actors, and by the bytes held, whatever the number of items."""
    store_bytes = (n_held * N_HELD_PER_SLICE - 1) / BYTES_IN_PROGRESS_FRACTION
    world = SimulatedRay(np.random.default_rng(0), n_cpus=4, store_bytes=store_bytes)
    rows, _ = run(world, 500, _spec(chunk_slices=1, cut=lambda item: [item]))
    assert len(rows) == 500
    assert world.most_in_flight <= 4 * CHUNKS_PER_CPU + 2 * 3 + 3  # chunks, and actors that load
    assert world.most_held_at_load < n_held
