"""Runs killed at random, again and again, end where an undisturbed run ends; two runs never share an output."""

import random
import re
from pathlib import Path

import psutil
import pytest

from tasks.io import output_lock, storage
from tests.bad_inputs import tar
from tests.conftest import Trained
from tests.soak.commands import (
    TIMEOUT_S,
    VICTIMS,
    compare,
    kill,
    n_recorded,
    start_segmentation,
    wait_for_progress,
    wait_until,
)
from tests.soak.conftest import N_KILLABLE

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.tf, pytest.mark.slow]


def test_killed_runs_end_where_an_undisturbed_one_does(
    trained: Trained, killable_scans: Path, root: str, log: Path
) -> None:
    """Twenty kills of driver, worker and actor in turn: same masks, same table, no scan done twice, nothing stray."""
    _kill_again_and_again(trained, str(killable_scans), root, log, n_kills=20)


@pytest.mark.parametrize("packing", ["tar", "tgz"])
def test_members_of_an_archive_are_done_once_however_often_runs_are_killed(
    trained: Trained, killable_scans: Path, root: str, log: Path, packing: str
) -> None:
    """Killed inside an archive, a run goes on at the member where it was: none is redone, none is lost."""
    files = {path.name: path.read_bytes() for path in killable_scans.iterdir()}
    storage.publish(f"{root}/scans/all.{packing}", tar(files, "w:gz" if packing == "tgz" else "w"))
    _kill_again_and_again(trained, f"{root}/scans", root, log, n_kills=6)


def _kill_again_and_again(trained: Trained, scans: str, root: str, log: Path, *, n_kills: int) -> None:
    undisturbed, disturbed = f"{root}/undisturbed", f"{root}/disturbed"
    assert start_segmentation(trained.model_uri, scans, undisturbed, log=log).wait(TIMEOUT_S) == 0
    rng, n_done = random.Random(0), 0
    while n_done < n_kills:
        victim = list(VICTIMS)[n_done % len(VICTIMS)]
        before = n_recorded(disturbed)
        run = start_segmentation(trained.model_uri, scans, disturbed, log=log)
        wait_for_progress(run, disturbed, before + rng.randint(0, (N_KILLABLE - before) // 2))
        n_done += run.poll() is None and kill(run, victim, rng)
        code = run.wait(TIMEOUT_S)
        assert code == 0 or victim == "driver", f"the run whose {victim} was killed ended with {code}, see {log}"
        if code == 0:  # complete before all kills were spent: begin anew
            compare(undisturbed, disturbed)
            disturbed = f"{root}/disturbed-{n_done}"
    assert start_segmentation(trained.model_uri, scans, disturbed, log=log).wait(TIMEOUT_S) == 0
    compare(undisturbed, disturbed)


def test_the_second_of_two_runs_is_refused_until_the_first_is_dead(
    trained: Trained, killable_scans: Path, root: str, log: Path
) -> None:
    """While a run lives a second exits 4 and names it; once it is killed, the next takes its lease over by itself."""
    output, refusal = f"{root}/output", log.with_name("second.log")
    first = start_segmentation(trained.model_uri, killable_scans, output, log=log)
    held = storage.join(output, output_lock.FOLDER)
    wait_until(lambda: storage.exists(held) and bool(storage.list_objects(held)), "a lease")
    psutil.Process(first.pid).suspend()  # it lives, but would be done before the second has started
    [found] = storage.list_objects(held)
    holder = output_lock.Holder.model_validate_json(storage.read_bytes(found.uri))
    second = start_segmentation(trained.model_uri, killable_scans, output, log=refusal)
    assert (second.wait(TIMEOUT_S), first.poll()) == (4, None)
    assert f"heldbyrun{holder.run_id}" in re.sub(r"\s", "", refusal.read_text())
    assert kill(first, "driver", random.Random(0))
    first.wait(TIMEOUT_S)
    third = start_segmentation(trained.model_uri, killable_scans, output, log=log)
    assert third.wait(TIMEOUT_S) == 0
    assert f"taken over from run {holder.run_id}" in log.read_text()
