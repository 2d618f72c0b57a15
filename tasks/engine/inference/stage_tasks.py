"""Ray tasks of a prediction stream: one loads a chunk, one finishes the chunks of a group."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray

from tasks.io.time_limit import time_limit
from tasks.stages.chunk import Loaded, Predicted

Head = tuple[float, int, int, int]
"""Head of a loaded chunk: seconds, slices, bytes in memory and bytes read."""


@ray.remote(max_retries=0)
def load_in_worker(
    load: Callable[..., Loaded],
    items: Sequence[Any],  # Any: as in `Loaded`
    timeout_s: float | None,
) -> tuple[Head, np.ndarray, Any]:
    """Return the head, then the slices, then the rest."""
    _lower_priority()
    started = time.perf_counter()
    with time_limit(timeout_s):
        loaded = load(items)
    n_held = 3 * loaded.images.nbytes + loaded.n_held  # the probability of each output is as large as the slices
    head = (time.perf_counter() - started, len(loaded.images), n_held, loaded.n_read)
    return head, loaded.images, loaded.rest


@ray.remote(max_retries=0)
def finish_in_worker(
    finish: Callable[..., Any],
    timeout_s: float | None,
    *parts: Any,  # Any: three per chunk
) -> tuple[list[Any], float, int]:
    """Return the rows, seconds and bytes written."""
    _lower_priority()
    started = time.perf_counter()
    chunks = [Predicted.of(*parts[start : start + 3]) for start in range(0, len(parts), 3)]
    with time_limit(timeout_s):
        rows, n_written = finish(chunks)
    return rows, time.perf_counter() - started, n_written


def _lower_priority() -> None:
    """Lower the CPU priority of this worker below that of model actors.

    A model on a CPU waits for the slowest of its threads at every layer, so a worker that uses a tenth of a core costs
    it far more than that. Niceness alone is not enough: a waking thread would still wait for the worker's time slice.
    """
    if hasattr(os, "SCHED_IDLE") and os.sched_getscheduler(0) == os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
