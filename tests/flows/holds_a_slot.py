"""A flow whose GPU step holds its slot until it is told to end: `python -m tests.flows.holds_a_slot FOLDER`."""

import sys
import time
from pathlib import Path

from prefect import flow

from tasks.runtime.slots import gpu_step

HELD, END = "held", "end"
"""Files that say that the step has its slot, and that it is to end."""


@gpu_step(name="hold", report_every_s=1)
def hold(folder: Path) -> None:
    """Hold a slot."""
    (folder / HELD).touch()
    while not (folder / END).exists():
        time.sleep(0.2)


@flow(name="holds-a-slot")
def holds_a_slot(folder: Path) -> None:
    """Hold a slot."""
    hold(folder)


if __name__ == "__main__":
    holds_a_slot(Path(sys.argv[1]))
