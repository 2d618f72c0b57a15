"""Command `lesions doctor`: checks of what the flows need on this machine."""

from rich.console import Console
from rich.table import Table

from tasks.core.errors import StorageError
from tasks.core.handles import Diagnosis
from tasks.runtime.doctor import CHECKS


def doctor() -> Diagnosis:
    """Check installation, storage, Ray and Prefect, and show what to do about each failed check.

    Exits with 5 if a check fails.
    """
    table = Table("", "check", "found", box=None)
    checks = {}
    for name, check in CHECKS.items():
        checks[name] = check()
        mark = "[green]ok[/]" if checks[name].is_well else "[red]no[/]"
        table.add_row(mark, name, checks[name].sentence)
    Console().print(table)
    is_well = all(finding.is_well for finding in checks.values())
    return Diagnosis(checks=checks, exit_code=0 if is_well else StorageError.exit_code)
