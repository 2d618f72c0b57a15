"""Command `lesions doctor`: checks of what the flows need on this machine."""

import sys

from rich.console import Console
from rich.table import Table

from tasks.runtime.doctor import CHECKS


def doctor() -> None:
    """Check installation, storage, Ray and Prefect, and show what to do about each failed check.

    Exits with 5 if a check fails.
    """
    table = Table("", "check", "found", box=None)
    is_well = True
    for name, check in CHECKS.items():
        finding = check()
        is_well &= finding.is_well
        table.add_row("[green]ok[/]" if finding.is_well else "[red]no[/]", name, finding.sentence)
    Console().print(table)
    if not is_well:
        sys.exit(5)
