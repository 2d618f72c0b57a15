"""`make bench`: each benchmark against its peers in the same run; rows are printed and kept in `bench-output/`.

Options: `--model URI` (a trained bundle; otherwise one is trained on phantoms for an epoch), `--slices N`.
"""

import argparse
import json
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import throughput
from tests.benchmarks.setting import cpu_flags, scans_of, trained_bundle


def main() -> None:
    """Run every benchmark, print its rows, and keep them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--model", default=None)
    parser.add_argument("--slices", type=int, default=640)
    asked = parser.parse_args()
    console = Console()
    console.print(f"{platform.node()}, {platform.processor()}, flags {cpu_flags()}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = asked.model or trained_bundle(work)
        rows = throughput.run(model, scans_of(work, asked.slices), work)
    table = Table("what", "precision", "ms a slice", "against the bare model")
    for row in rows:
        table.add_row(row["what"], row["precision"], f"{row['ms']:.1f}", f"{row['of_bare']:.2f}")
    console.print(table)
    kept = Path("bench-output") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"flags": cpu_flags(), "n_slices": asked.slices, "rows": rows}, indent=2))


main()
