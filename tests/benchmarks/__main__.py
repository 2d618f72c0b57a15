"""`make bench`: each benchmark against its peers in the same run; rows are printed and kept in `bench-output/`.

Names of benchmarks run those only. Options: `--model URI` (a trained bundle; otherwise one is trained on phantoms for
an epoch), `--slices N`, `--peer-python PATH` (a Python that has segmentation_models_pytorch and opencv).
"""

import argparse
import json
import tempfile
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import archives, growth, one_scan, throughput, training
from tests.benchmarks.setting import Benchmark, Row, Setting, cpu_flags, trained_bundles

BENCHMARKS: dict[str, Benchmark] = {
    "throughput": throughput.run,
    "growth": growth.run,
    "one-scan": one_scan.run,
    "archives": archives.run,
    "training": training.run,
}


def main() -> None:
    """Run the benchmarks that were named, or all, print their rows, and keep them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--model", default=None)
    parser.add_argument("--slices", type=int, default=640)
    parser.add_argument("--peer-python", default=None)
    asked = parser.parse_args()
    if unknown := set(asked.names) - BENCHMARKS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}")
    console, rows = Console(), []
    console.print(f"CPU flags: {' '.join(cpu_flags())}")
    with tempfile.TemporaryDirectory() as folder:
        models = {"bundle": asked.model} if asked.model else trained_bundles(Path(folder))
        setting = Setting(Path(folder), models, asked.slices, asked.peer_python)
        for name in asked.names or BENCHMARKS:
            own = Path(folder, name)
            own.mkdir()
            found = BENCHMARKS[name](replace(setting, folder=own))
            console.print(_table(found))
            rows += found
    kept = Path("bench-output") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"cpu_flags": cpu_flags(), "rows": [asdict(row) for row in rows]}, indent=2))


def _table(rows: list[Row]) -> Table:
    table = Table("benchmark", "what", "figure", "unit", "against its peer")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.benchmark, row.what, f"{row.value:.4g}", row.unit, ratio)
    return table


if __name__ == "__main__":
    main()
