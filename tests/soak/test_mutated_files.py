"""Tens of thousands of files that nobody wrote: each is a typed row, within bounds of memory and time."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tasks.core.rows import ScanRow
from tasks.io import storage
from tasks.io.tables import from_parquet
from tests.conftest import Trained
from tests.soak.commands import TIMEOUT_S, start_segmentation
from tests.soak.mutated_files import FAULTS, LIMIT_BYTES, write_damaged

pytestmark = [pytest.mark.soak, pytest.mark.slow]

N_FILES = 20_000
N_CHILDREN = 10
N_DAMAGED = 200
N_GOOD = 20
INCOMPLETE = 3
"""Exit status of a run that is done but for scans it names."""


def test_no_damaged_file_is_more_than_a_typed_row(tmp_path: Path) -> None:
    """Over every reader and packing, in processes of 4 GiB and under a clock: no error but typed ones."""
    codes: Counter[str] = Counter()
    for child in range(N_CHILDREN):
        folder = tmp_path / str(child)
        folder.mkdir()
        command = [sys.executable, "-m", "tests.soak.mutated_files", folder, str(N_FILES // N_CHILDREN), str(child)]
        done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        found = json.loads(done.stdout)
        sys.stdout.write(f"{found['longest_s']:.1f} s at most, {found['peak_bytes'] >> 20} MiB\n")
        codes.update(found["codes"])
        assert not FAULTS & codes.keys(), [path.name for path in folder.glob("fault-*")]
    sys.stdout.write(f"{sum(codes.values())} files: {dict(codes.most_common())}\n")
    assert len(codes) > 20


@pytest.mark.ray
@pytest.mark.tf
def test_a_night_of_damaged_files_does_the_good_ones(
    trained: Trained, many_scans: Path, tmp_path: Path, log: Path
) -> None:
    """Two hundred of them beside twenty good scans: these are done, the rest is named, no worker grows over 4 GiB."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    write_damaged(scans / "damaged", N_DAMAGED, seed=1000)
    for path in sorted(many_scans.iterdir())[:N_GOOD]:
        storage.publish(str(scans / "good" / path.name), path.read_bytes())
    start = time.monotonic()
    run = start_segmentation(trained.model_uri, scans, str(output), log=log)
    driver, peak_bytes = psutil.Process(run.pid), 0
    while run.poll() is None:
        peak_bytes = max([peak_bytes, *map(_resident, driver.children(recursive=True))])
        assert time.monotonic() < start + TIMEOUT_S
        time.sleep(0.2)
    assert run.returncode == INCOMPLETE, log.read_text()[-3000:]
    rows = from_parquet(ScanRow, storage.read_bytes(str(output / "scans.parquet")))
    assert sum(row.status == "done" and row.scan_id.startswith("good") for row in rows) == N_GOOD
    assert not FAULTS & {row.error_code for row in rows}
    assert all(row.error for row in rows if row.status != "done")
    assert peak_bytes < LIMIT_BYTES
    sys.stdout.write(f"{time.monotonic() - start:.0f} s, {peak_bytes >> 20} MiB at most, {len(rows)} rows\n")


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
