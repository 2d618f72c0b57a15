"""Runs all tests in five lanes side by side: `python -m tests.lanes [options of pytest]`.

Networks, deployments with a server, jobs of a cluster, and files run beside all other tests. The exit code is 0 if all
passed.
"""

import subprocess
import sys
import threading
import time
from typing import IO


def _without(paths: tuple[str, ...]) -> list[str]:
    return [f"--ignore={path}" for path in paths]


DEPLOYED = ("tests/flows/test_deployments.py", "tests/flows/test_pipeline.py")
NETWORKS = (
    "tests/engine/network",
    "tests/engine/training",
    "tests/engine/inference/test_predictor.py",
    "tests/engine/steps/test_train.py",
)
"""Not streams: an actor that is killed while Ray starts it keeps its CPU in the session, which a training may need."""
JOBS = (
    *("tests/engine/jobs", "tests/engine/cluster", "tests/engine/steps/test_corrections.py", "tests/runtime"),
    *(f"tests/flows/test_{name}.py" for name in ("command", "machine_output", "user_mistakes")),
)
"""And commands, which wait for processes as jobs do."""
FILES = ("tests/core", "tests/io", "tests/stages")
LANES = {
    "deployments": [*DEPLOYED],
    "networks": [*NETWORKS],
    "jobs": [*JOBS],
    "files": [*FILES],
    "others": _without(DEPLOYED + NETWORKS + JOBS + FILES),
}
"""By file, so that every test is in one of them; each lane waits half of its time for processes."""


def _of_failures(lines: list[str]) -> list[str]:
    """Return what pytest prints from its first failure or error on; all it printed, if it came to none."""
    starts = ("= FAILURES =", "= ERRORS =")
    first = next((at for at, line in enumerate(lines) if any(start in line for start in starts)), 0)
    return lines[first:]


def run_lanes(*options: str) -> dict[str, int]:
    """Run the lanes to their end and return the exit code of each; every line they print bears the lane's name.

    What a lane that failed said of it is printed once more at the end, where nothing of other lanes lies between.
    """
    width, started = max(map(len, LANES)), time.monotonic()
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "pytest", "-o", f"cache_dir=.pytest_cache/{number}", *chosen, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",  # a test may print any bytes
        )
        for number, (name, chosen) in enumerate(LANES.items())
    }

    printed: dict[str, list[str]] = {name: [] for name in LANES}

    def relay(name: str, lines: IO[str]) -> None:
        for line in lines:
            printed[name].append(line)
            sys.stdout.write(f"{name:{width}} | {line}")
            sys.stdout.flush()
        sys.stdout.write(f"{name:{width}} | ended after {time.monotonic() - started:.0f} s\n")

    threads = [
        threading.Thread(target=relay, args=(name, lane.stdout)) for name, lane in running.items() if lane.stdout
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = {name: lane.wait() for name, lane in running.items()}
    for name in (name for name, code in codes.items() if code):
        sys.stdout.write(f"\nThe lane {name}:\n{''.join(_of_failures(printed[name]))}")
    return codes


if __name__ == "__main__":
    failed = [name for name, code in run_lanes(*sys.argv[1:]).items() if code]
    sys.stdout.write(f"Failed: the lane {' and the lane '.join(failed)}.\n" if failed else "All lanes passed.\n")
    sys.exit(bool(failed))
