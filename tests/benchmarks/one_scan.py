"""What a run costs before and after its scans: one scan, process start to exit, by stage."""

from itertools import pairwise
from pathlib import Path

from tests.benchmarks.processes import segment
from tests.benchmarks.setting import Row, Setting

N_RUNS = 3
STAGES = {
    "Python and imports": "Starting temporary server",
    "Prefect's temporary server and Ray": "cluster: ",
    "actor: process, TensorFlow, weights, self-test": "stream: first model",
    "the scan; table, report, manifest": "segment: 1 done",
    "Ray's end and last words to Prefect": "Stopping temporary server",
}
"""Stages in their order, each with a text that is said at its end; the way out is what is left."""


def run(setting: Setting) -> list[Row]:
    """Return the median of each stage over a few runs, each into a new output."""
    scans = setting.scans(1)
    found = [_seconds(setting, scans, number) for number in range(N_RUNS)]
    return [
        Row("one scan", stage, sorted(seconds[stage] for seconds in found)[N_RUNS // 2], "s", None)
        for stage in found[0]
    ]


def _seconds(setting: Setting, scans: Path, number: int) -> dict[str, float]:
    ran = segment(setting.model_uri, scans, setting.folder / f"out-{number}", "auto")
    ends = [0.0]
    for text in STAGES.values():
        ends.append(next((at for at, line in ran.lines if text in line), ends[-1]))
    stages = {stage: end - start for stage, (start, end) in zip(STAGES, pairwise(ends), strict=True)}
    return stages | {"way out": ran.seconds - ends[-1], "all": ran.seconds}
