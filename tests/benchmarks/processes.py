"""Whole processes under measurement: the `lesions` command, scripts of peers, and the memory of a process tree."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tasks.engine.cluster.environment import WORKER_ENVIRONMENT
from tasks.io import storage

SAMPLE_EVERY_S = 2.0
DISK = "/"
"""Where temporary files of workers would go."""

LESIONS = str(Path(sys.executable).with_name("lesions"))


@dataclass(slots=True)
class Peak:
    """The most that was seen of a process tree.

    Attributes:
        tree_bytes: Proportional set size of all its processes: shared pages count once.
        process_bytes: Of its largest process.
        disk_bytes: What the disk held more than before.
    """

    tree_bytes: int = 0
    process_bytes: int = 0
    disk_bytes: int = 0

    def see(self, pid: int, disk_before: int) -> None:
        """Look once."""
        sizes = _pss(pid)
        self.tree_bytes = max(self.tree_bytes, sum(sizes))
        self.process_bytes = max(self.process_bytes, *sizes, 0)
        self.disk_bytes = max(self.disk_bytes, shutil.disk_usage(DISK).used - disk_before)


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A run of `lesions segment` as its caller sees it.

    Attributes:
        seconds: From process start to exit.
        manifest: What it published last.
        lines: What it said, each with the seconds after its start.
        peak: What it took at most, sampled; nothing where it was not watched.
    """

    seconds: float
    manifest: dict[str, Any]  # Any: JSON
    lines: list[tuple[float, str]]
    peak: "Peak"

    @property
    def seconds_a_slice(self) -> float:
        """Of the steady state: from the first predicted chunk to the last."""
        return 1 / float(self.manifest["speed"]["slices_per_second"])


def segment(
    model_uri: str, scans: Path | str, output: Path | str, precision: str, *, is_watched: bool = False
) -> Segmentation:
    """Run the command on a folder of scans, into a new output; watching its memory costs it some speed."""
    command = [LESIONS, "segment", model_uri, str(scans), str(output), "--segmentation.precision", precision]
    command += ["--segmentation.no-test-time-flips"]  # its peers have none
    started = time.perf_counter()
    lines: list[tuple[float, str]] = []
    with (
        subprocess.Popen(
            [*command, "--segmentation.settle-minutes", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        ) as process,
        _watched(process.pid, is_watched=is_watched) as peak,
    ):
        for line in process.stdout or ():
            lines.append((time.perf_counter() - started, line.strip()))
        code = process.wait()
    seconds = time.perf_counter() - started
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n" + "\n".join(line for _, line in lines))
    return Segmentation(
        seconds, json.loads(storage.read_bytes(storage.join(str(output), "manifest.json"))), lines, peak
    )


def seconds_a_slice(script: str, *arguments: str, python: str = sys.executable) -> float:
    """Run a peer's script in a process of its own; the last line it prints is seconds a slice."""
    answer = subprocess.run(
        [python, "-c", script, *arguments],
        env={**os.environ, **WORKER_ENVIRONMENT},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(json.loads(answer.stdout.strip().splitlines()[-1]))


@contextmanager
def _watched(pid: int, *, is_watched: bool) -> Iterator[Peak]:
    """Sample a process tree while the body runs."""
    peak, is_over, disk_before = Peak(), threading.Event(), shutil.disk_usage(DISK).used

    def watch() -> None:
        while is_watched and not is_over.wait(SAMPLE_EVERY_S):
            peak.see(pid, disk_before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()


def _pss(pid: int) -> list[int]:
    """Return the proportional set size of a process and of all below it."""
    sizes = []
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                sizes.append(process.memory_full_info().pss)
    return sizes
