"""The stream over a stand-in model: one row an item whatever dies, and bounded actors."""

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tasks.core.config.compute import ComputeConfig
from tasks.core.errors import ClusterError, DataError, ModelError, StorageError
from tasks.core.precision import ChosenPrecision
from tasks.core.throughput import StageSums
from tasks.engine.cluster.session import session
from tasks.engine.inference.chunks import PredictionSpec
from tasks.engine.inference.stream import PredictionStream
from tasks.stages.chunk import Loaded, Predicted

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

SIZE_PX = 4


class Doubling:
    """A stand-in for a model: twice the value; dies over the value 66 while its strikes last."""

    precision: ChosenPrecision | None = None

    def __init__(self, strikes: Path | None = None) -> None:
        self._strikes = strikes

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return twice each pixel."""
        if self._strikes and (images == 66).any():
            _die_while(self._strikes)
        return images[np.newaxis] * 2


def _die_while(strikes: Path) -> None:
    """End this process if a strike is left, and use it up."""
    left = sorted(strikes.glob("*"))
    if left:
        left[0].unlink()
        os._exit(1)


def _strikes(folder: Path, n: int) -> Path:
    folder.mkdir()
    for number in range(n):
        (folder / str(number)).touch()
    return folder


def _load(items: Sequence[int], *, strikes: Path | None = None) -> Loaded:
    if strikes and 77 in items:
        _die_while(strikes)
    images = np.stack([np.full((SIZE_PX, SIZE_PX), item, np.uint8) for item in items])
    return Loaded(images, list(items), n_held=0, n_read=10 * len(items))


def _finish(chunks: Sequence[Predicted]) -> tuple[list[tuple[int, int]], int]:
    (chunk,) = chunks
    rows = [(item, int(answer[0, 0])) for item, answer in zip(chunk.rest, chunk.probability, strict=True)]
    return rows, len(rows)


def _give_up(item: int, bug: DataError | None) -> tuple[int, int]:
    return (item, -1 if bug is None else -2)


def _run(
    items: Sequence[int],
    *,
    load: Callable[..., object] = _load,
    model: Callable[[], object] = Doubling,
    give_up: Callable[[int, DataError | None], tuple[int, int]] | None = _give_up,
    chunk_size: int = 4,
    sums: StageSums | None = None,
) -> list[tuple[int, int]]:
    work = PredictionSpec(load=load, load_model=model, finish=_finish, chunk_slices=chunk_size, give_up=give_up)
    with session(ComputeConfig()):
        stream = PredictionStream(work, sums or StageSums())
        return sorted(row for rows in stream.rows(items) for row in rows)


@pytest.mark.parametrize("chunk_size", [3, 100])
def test_every_item_gets_one_row_of_its_own(chunk_size: int) -> None:
    """However items are chunked, each comes out once, with what the model says of it alone."""
    assert _run(range(50), chunk_size=chunk_size) == [(item, 2 * item) for item in range(50)]


def test_no_items_no_rows() -> None:
    """Nothing in, nothing out."""
    assert _run([]) == []


def test_sums_add_up() -> None:
    """Slices and bytes are those of the items."""
    sums = StageSums()
    _run(range(30), sums=sums)
    assert (sums.n_slices, sums.bytes_read, sums.bytes_written) == (30, 300, 30)
    assert sums.slices_per_second is None or sums.slices_per_second > 0


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    """A chunk whose worker is gone is done again; every item still has one row."""
    load = partial(_load, strikes=_strikes(tmp_path / "strikes", 1))
    assert _run(range(70, 90), load=load) == [(item, 2 * item) for item in range(70, 90)]


def test_an_actor_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    """When the process with the model is gone another takes its place, and every item still has one row."""
    model = partial(Doubling, _strikes(tmp_path / "strikes", 1))
    assert _run(range(50, 90), model=model) == [(item, 2 * item) for item in range(50, 90)]


@pytest.mark.parametrize("stage", ["load", "predict"])
def test_an_item_that_always_kills_is_given_up_alone(stage: str, tmp_path: Path) -> None:
    """The one that no process survives is given up; its chunk-mates are not."""
    strikes, killer = _strikes(tmp_path / "strikes", 100), {"load": 77, "predict": 66}[stage]
    load = partial(_load, strikes=strikes) if stage == "load" else _load
    model = partial(Doubling, strikes) if stage == "predict" else Doubling
    expected = [(item, -1 if item == killer else 2 * item) for item in range(60, 80)]
    assert _run(range(60, 80), load=load, model=model) == expected


class Stumbling(Doubling):
    """A stand-in that raises what nobody meant over the value 66."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return twice each pixel."""
        if (images == 66).any():
            raise KeyError(66)
        return super().predict(images)


def _stumble(items: Sequence[int]) -> Loaded:
    if 77 in items:
        raise MemoryError
    return _load(items)


@pytest.mark.parametrize("stage", ["load", "predict"])
def test_an_item_that_brings_out_a_bug_is_given_up_alone(stage: str) -> None:
    """Where a stage raises what nobody meant, the one item it is about is given up with that error, no other is."""
    load, model = (_stumble, Doubling) if stage == "load" else (_load, Stumbling)
    killer = {"load": 77, "predict": 66}[stage]
    expected = [(item, -2 if item == killer else 2 * item) for item in range(60, 80)]
    assert _run(range(60, 80), load=load, model=model) == expected


class Broken(Doubling):
    """A stand-in whose accelerator answers no more once a file says so."""

    def __init__(self, flag: Path, *, comes_round: bool) -> None:
        super().__init__()
        self._flag, self._is_new = flag, comes_round and flag.exists()

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return twice each pixel, or raise what nobody meant."""
        if (images >= 20).any() and not self._is_new:
            self._flag.touch()
            raise RuntimeError("CUDA error")
        return super().predict(images)


def test_an_accelerator_that_breaks_loses_no_scan(tmp_path: Path) -> None:
    """A model that raises what nobody meant is replaced; where the next one works, every item has its row."""
    model = partial(Broken, tmp_path / "broken", comes_round=True)
    assert _run(range(40), model=model) == [(item, 2 * item) for item in range(40)]


def test_accelerators_that_stay_broken_end_the_run(tmp_path: Path) -> None:
    """Models that raise one after the other are the cluster's fault: no scan is given up for it."""
    given_up: list[int] = []

    def give_up(item: int, bug: DataError | None) -> tuple[int, int]:
        given_up.append(item)
        return _give_up(item, bug)

    with pytest.raises(ClusterError, match="broke one after the other"):
        _run(range(20, 60), model=partial(Broken, tmp_path / "broken", comes_round=False), give_up=give_up)
    assert not given_up


def _load_slowly(items: Sequence[int]) -> Loaded:
    if 77 in items:
        re.match(r"(a|a)*$", 29 * "a" + "b")  # for half a minute, and holding Python's lock
    return _load(items)


def test_an_item_that_never_ends_is_given_up_in_time() -> None:
    """Its worker is ended, though it hangs within a library; its chunk-mates are done."""
    work = PredictionSpec(
        load=_load_slowly,
        load_model=Doubling,
        finish=_finish,
        chunk_slices=4,
        give_up=lambda item, bug: (item, -1 if bug and bug.code == "timed_out" else 0),
        timeout_s=2,
    )
    with session(ComputeConfig()):
        rows = sorted(row for rows in PredictionStream(work).rows(range(70, 90)) for row in rows)
    assert rows == [(item, -1 if item == 77 else 2 * item) for item in range(70, 90)]


def test_without_giving_up_a_killer_ends_the_run(tmp_path: Path) -> None:
    """Where a row must not be lost the run ends, as the cluster's fault."""
    load = partial(_load, strikes=_strikes(tmp_path / "strikes", 100))
    with pytest.raises(ClusterError, match="Workers died"):
        _run([77], load=load, give_up=None)


def _store_is_down(_: Sequence[int]) -> Loaded:
    raise StorageError("The store is down.")


def test_an_error_of_our_own_ends_the_run_as_it_was_raised() -> None:
    """What a stage raises on purpose reaches the caller as one sentence."""
    with pytest.raises(StorageError) as caught:
        _run(range(10), load=_store_is_down)
    assert str(caught.value) == "The store is down."


def _no_model() -> Doubling:
    raise ModelError("The bundle is damaged.")


def test_a_model_that_cannot_be_loaded_ends_the_run_as_it_was_raised() -> None:
    """A bundle that is refused in the actor is one sentence here."""
    with pytest.raises(ModelError) as caught:
        _run(range(10), model=_no_model)
    assert str(caught.value) == "The bundle is damaged."


def test_what_was_recorded_before_a_death_is_not_done_again(tmp_path: Path) -> None:
    """Rows that a dead worker had already recorded are taken from the record."""
    load = partial(_load, strikes=_strikes(tmp_path / "strikes", 1))
    work = PredictionSpec(
        load=load,
        load_model=Doubling,
        finish=_finish,
        chunk_slices=4,
        recall=lambda items: {index: (item, 1000) for index, item in enumerate(items) if item == 77},
    )
    with session(ComputeConfig()):
        rows = sorted(row for rows in PredictionStream(work).rows(range(70, 90)) for row in rows)
    assert rows == [(item, 1000 if item == 77 else 2 * item) for item in range(70, 90)]


def _halves(item: int) -> list[int]:
    """Cut items from 80 on into three pieces, which are marked by hundreds."""
    return [item, item + 100, item + 200] if item >= 80 else [item]


def _load_pieces(items: Sequence[int], *, strikes: Path | None = None) -> Loaded:
    if strikes and 182 in items:
        _die_while(strikes)
    images = np.stack([np.full((SIZE_PX, SIZE_PX), item % 100, np.uint8) for item in items])
    return Loaded(images, list(items), n_held=0, n_read=0)


def _finish_pieces(chunks: Sequence[Predicted]) -> tuple[list[tuple[int, list[int], int]], int]:
    if len(chunks) == 1:
        return [(item, [item], int(p[0, 0])) for item, p in zip(chunks[0].rest, chunks[0].probability, strict=True)], 0
    pieces = [item for chunk in chunks for item in chunk.rest]
    return [(pieces[0], pieces, int(chunks[-1].probability[0, 0, 0]))], 0


@pytest.mark.parametrize("n_strikes", [0, 1])
def test_a_long_item_is_finished_once_from_all_its_pieces(n_strikes: int, tmp_path: Path) -> None:
    """Pieces are loaded and predicted apart and finished together in order, also where a worker dies over one."""
    load = partial(_load_pieces, strikes=_strikes(tmp_path / "strikes", n_strikes))
    work = PredictionSpec(load=load, load_model=Doubling, finish=_finish_pieces, chunk_slices=4, cut=_halves)
    with session(ComputeConfig()):
        rows = sorted(row for rows in PredictionStream(work).rows(range(76, 84)) for row in rows)
    assert rows == [(item, _halves(item), 2 * item) for item in range(76, 84)]
