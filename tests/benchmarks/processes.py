"""Whole processes under measurement: the `lesions` command, scripts of peers, and the memory of a process tree."""

import json
import os
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

from tasks.engine.cluster import WORKER_ENVIRONMENT

SAMPLE_EVERY_S = 2.0
LESIONS = str(Path(sys.executable).with_name("lesions"))


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A run of `lesions segment` as its caller sees it.

    Attributes:
        seconds: From process start to exit.
        manifest: What it published last.
        lines: What it said, each with the seconds after its start.
        peak_pss_bytes: Largest proportional set size of its process tree, sampled; 0 where it was not watched.
    """

    seconds: float
    manifest: dict[str, Any]  # Any: JSON
    lines: list[tuple[float, str]]
    peak_pss_bytes: int

    @property
    def seconds_a_slice(self) -> float:
        """Of the steady state: from the first predicted chunk to the last."""
        return 1 / float(self.manifest["speed"]["slices_per_second"])


def segment(model_uri: str, scans: Path, output: Path, precision: str, *, is_watched: bool = False) -> Segmentation:
    """Run the command on a folder of scans, into a new output; watching its memory costs it some speed."""
    command = [LESIONS, "segment", model_uri, str(scans), str(output), "--segmentation.precision", precision]
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
        _peak_pss(process.pid, is_watched=is_watched) as peak,
    ):
        for line in process.stdout or ():
            lines.append((time.perf_counter() - started, line.strip()))
        code = process.wait()
    seconds = time.perf_counter() - started
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n" + "\n".join(line for _, line in lines))
    return Segmentation(seconds, json.loads((output / "manifest.json").read_text()), lines, peak[0])


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
def _peak_pss(pid: int, *, is_watched: bool) -> Iterator[list[int]]:
    """Sample a process tree while the body runs; the one number is the largest sum seen so far, bytes."""
    peak, is_over = [0], threading.Event()

    def watch() -> None:
        while is_watched and not is_over.wait(SAMPLE_EVERY_S):
            peak[0] = max(peak[0], _tree_pss(pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()


def _tree_pss(pid: int) -> int:
    """Return the proportional set size of a process and all below it: shared pages count once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
    return total
