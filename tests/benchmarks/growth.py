"""Ten times the slices: the same memory, and the same seconds a slice."""

from tests.benchmarks.processes import segment
from tests.benchmarks.setting import Row, Setting

SIZES = (300, 3000)
PRECISION = "bfloat16"


def run(setting: Setting) -> list[Row]:
    """Return peak memory and steady-state time at either size, with the larger's against the smaller's."""
    few, many = (
        segment(setting.model_uri, setting.scans(n), setting.folder / f"out-{n}", PRECISION, is_watched=True)
        for n in SIZES
    )
    rows = []
    for n, found in zip(SIZES, (few, many), strict=True):
        gib, ms = found.peak.tree_bytes / 2**30, 1000 * found.seconds_a_slice
        rows += [
            Row("memory", f"peak PSS of the process tree, {n} slices", gib, "GiB", few.peak.tree_bytes / 2**30 / gib),
            Row("linearity", f"steady state, {n} slices", ms, "ms a slice", 1000 * few.seconds_a_slice / ms),
        ]
    return rows
