"""The `lesions` command under attack: started as a process, watched through its ledger, killed, compared."""

import os
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tasks.core.rows import LedgerEntry, ScanRow
from tasks.io import ledger, storage
from tasks.io.outputs import ownership
from tasks.io.tables import from_parquet
from tests.benchmarks.processes import LESIONS

TIMEOUT_S = 300
VICTIMS = {"driver": "", "worker": "ray::_", "actor": "ray::ModelActor"}
"""What is killed, and how the titles of such processes begin."""


def start_segmentation(
    model_uri: str, scans: Path | str, output: str, *options: str, env: Mapping[str, str] = os.environ, log: Path
) -> subprocess.Popen[bytes]:
    """Start `lesions segment`; what it says is added to a file."""
    command = [LESIONS, "segment", model_uri, str(scans), output, "--segmentation.settle-minutes", "0", *options]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=dict(env))


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Look ten times a second until something is so."""
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {TIMEOUT_S} s for {what}.")
        time.sleep(0.1)


def wait_for_progress(run: subprocess.Popen[bytes], output: str, n_objects: int) -> None:
    """Wait until a run's ledger holds that many objects, or the run has ended."""
    wait_until(lambda: run.poll() is not None or n_recorded(output) >= n_objects, "progress")


def n_recorded(output: str) -> int:
    """Return how many objects the ledger of an output holds."""
    folder = storage.join(output, ledger.FOLDER)
    return len(storage.list_objects(folder)) if storage.exists(folder) else 0


def kill(run: subprocess.Popen[bytes], victim: str, rng: random.Random) -> bool:
    """Kill the driver, or one of the processes below it of a kind, with SIGKILL; say whether one was found."""
    driver = psutil.Process(run.pid)
    if victim == "driver":
        family = driver.children(recursive=True)
        driver.kill()
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:  # Prefect's temporary server does not notice
            process.kill()
        return True
    named = [child for child in driver.children(recursive=True) if _title(child).startswith(VICTIMS[victim])]
    if named:
        rng.choice(named).kill()
    return bool(named)


def masks_of(output: str) -> dict[str, bytes]:
    """Return the masks of an output by name."""
    return {o.path: storage.read_bytes(o.uri) for o in storage.list_objects(storage.join(output, "masks"))}


def rows_of(output: str) -> list[dict[str, object]]:
    """Return the rows of an output's table, without what may differ: its place and the seconds."""
    rows = from_parquet(ScanRow, storage.read_bytes(storage.join(output, "scans.parquet")))
    return [row.model_dump(exclude={"seconds", "mask_uri"}) for row in rows]


def compare(undisturbed: str, disturbed: str) -> None:
    """Hold a disturbed output against an undisturbed one: same masks and rows, no scan done twice, nothing stray."""
    assert masks_of(disturbed) == masks_of(undisturbed)
    assert rows_of(disturbed) == rows_of(undisturbed)
    objects = storage.list_objects(storage.join(disturbed, ledger.FOLDER))
    entries = [entry for o in objects for entry in from_parquet(LedgerEntry, storage.read_bytes(o.uri))]
    done = [entry.scan_id for entry in entries if entry.status == "done"]
    assert sorted(done) == sorted(set(done)) == sorted(row["scan_id"] for row in rows_of(disturbed))
    names = {o.path.split("/")[0] for o in storage.list_objects(disturbed)}
    assert names - {"index"} == {"masks", "previews", "ledger", "scans.parquet", "report.html", "manifest.json"}
    if "://" not in disturbed:
        hidden = {path.name for path in Path(disturbed).rglob(".*")}
        assert hidden == {ownership.MARK}, "a killed writer's temporary file was left"


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
