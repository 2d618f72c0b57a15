"""`lesions doctor`: does this machine have what the flows need, and if not, what to do."""

import sys

from rich.console import Console
from rich.table import Table

from tasks.runtime.doctor import CHECKS


def doctor() -> None:
    """Check install, storage, Ray, Prefect and GPU; exits 5 if something the flows need is missing."""
    table = Table("", "check", "found", box=None)
    is_well = True
    for name, check in CHECKS.items():
        finding = check()
        is_well &= finding.is_well
        table.add_row("[green]ok[/]" if finding.is_well else "[red]no[/]", name, finding.sentence)
    Console().print(table)
    if not is_well:
        sys.exit(5)
