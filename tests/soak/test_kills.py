"""Runs killed at random, again and again, end where an undisturbed run ends: on a disk and on a GCS bucket."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tasks.core.records import LedgerEntry, ScanRow
from tasks.io import ledger, storage
from tasks.io.tables import from_parquet
from tests import emulators
from tests.conftest import Trained
from tests.phantoms import write_phantoms

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.tf, pytest.mark.slow]

N_KILLS = 20
N_SCANS = 240
VICTIMS = {"driver": "lesions", "worker": "ray::_", "actor": "ray::ModelActor"}
TIMEOUT_S = 240


@pytest.fixture(scope="module")
def many_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices enough for a run to be killed in."""
    folder = tmp_path_factory.mktemp("many-scans")
    write_phantoms(folder, n_patients=1, n_slices=N_SCANS, size_px=96, first_patient=70)
    return folder / "frames"


@pytest.fixture(params=["file", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the outputs go."""
    if request.param == "file":
        yield str(tmp_path)
        return
    with emulators.serving("gs") as found:
        os.environ.update(found)
        yield f"gs://{emulators.BUCKET}"


def _start(trained: Trained, scans: Path, output: str) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("lesions")), "segment", trained.model_uri, str(scans), output]
    with Path("soak.log").open("ab") as log:
        return subprocess.Popen([*command, "--segmentation.settle-minutes", "0"], stdout=log, stderr=log)


def _n_recorded(output: str) -> int:
    folder = storage.join(output, ledger.FOLDER)
    return len(storage.list_objects(folder)) if storage.exists(folder) else 0


def _kill(run: subprocess.Popen[bytes], victim: str, rng: random.Random) -> bool:
    """Kill the driver, or one of the processes below it of that kind; say whether one was found."""
    driver = psutil.Process(run.pid)
    if victim == "driver":
        family = driver.children(recursive=True)
        driver.kill()
        _, alive = psutil.wait_procs(family, timeout=30)
        for process in alive:  # Prefect's temporary server does not notice
            process.kill()
        return True
    named = [child for child in driver.children(recursive=True) if _title(child).startswith(VICTIMS[victim])]
    if named:
        rng.choice(named).kill()
    return bool(named)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _masks(output: str) -> dict[str, bytes]:
    return {o.path: storage.read_bytes(o.uri) for o in storage.list_objects(storage.join(output, "masks"))}


def _table(output: str) -> list[dict[str, object]]:
    rows = from_parquet(ScanRow, storage.read_bytes(storage.join(output, "scans.parquet")))
    return [row.model_dump(exclude={"seconds", "mask_uri"}) for row in rows]


def test_killed_runs_end_where_an_undisturbed_one_does(
    trained: Trained, many_scans: Path, place: str, tmp_path: Path
) -> None:
    """Twenty kills of driver, worker and actor in turn: same masks, same table, no scan done twice, nothing stray."""
    undisturbed, disturbed = f"{place}/undisturbed", f"{place}/disturbed"
    assert _start(trained, many_scans, undisturbed).wait(TIMEOUT_S) == 0
    rng, n_kills = random.Random(0), 0
    while n_kills < N_KILLS:
        run, victim = _start(trained, many_scans, disturbed), list(VICTIMS)[n_kills % len(VICTIMS)]
        before = _n_recorded(disturbed)
        target = before + rng.randint(0, max(1, (N_SCANS - before) // 6))
        deadline = time.monotonic() + TIMEOUT_S
        while run.poll() is None and _n_recorded(disturbed) < target:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        n_kills += run.poll() is None and _kill(run, victim, rng)
        if victim != "driver" or run.poll() == 0:
            run.wait(TIMEOUT_S)
        if run.returncode == 0:  # complete before all kills were spent: begin anew
            _compare(undisturbed, disturbed)
            disturbed = f"{place}/disturbed-{n_kills}"
    assert _start(trained, many_scans, disturbed).wait(TIMEOUT_S) == 0
    _compare(undisturbed, disturbed)
    shutil.rmtree(tmp_path, ignore_errors=True)


def _compare(undisturbed: str, disturbed: str) -> None:
    assert _masks(disturbed) == _masks(undisturbed)
    assert _table(disturbed) == _table(undisturbed)
    objects = storage.list_objects(storage.join(disturbed, ledger.FOLDER))
    entries = [entry for o in objects for entry in from_parquet(LedgerEntry, storage.read_bytes(o.uri))]
    done = [entry.scan_id for entry in entries if entry.status == "done"]
    assert sorted(done) == sorted(set(done)) == sorted(row["scan_id"] for row in _table(disturbed))
    names = {o.path.split("/")[0] for o in storage.list_objects(disturbed)}
    assert names == {"masks", "previews", "ledger", "scans.parquet", "report.html", "manifest.json"}
    if "://" not in disturbed:
        assert not list(Path(disturbed).rglob(".*"))
