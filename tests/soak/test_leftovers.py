"""What twenty runs in a row leave on a machine: nothing that grows but Prefect's database, and a ledger per run."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Trained
from tests.soak.commands import TIMEOUT_S, start_segmentation

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.tf, pytest.mark.server, pytest.mark.slow]

N_RUNS = 20
N_SCANS = 2


def _files(folder: Path) -> set[str]:
    """Return the files and folders below a folder, but Prefect's database."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.name.startswith("prefect.db")}


def test_runs_leave_nothing_that_grows(trained: Trained, many_scans: Path, tmp_path: Path, log: Path) -> None:
    """Temporary folder, home with Ray's and Prefect's folders, and all but the masks and tables of the output."""
    home, temporary, scans = tmp_path / "home", tmp_path / "tmp", tmp_path / "scans"
    for folder in (home, temporary, scans):
        folder.mkdir()
    for path in sorted(many_scans.iterdir())[:N_SCANS]:
        shutil.copy(path, scans)
    environment = os.environ | {"HOME": str(home), "TMPDIR": str(temporary)}
    for name in ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        environment.pop(name, None)
    in_shared = set(Path("/tmp").iterdir())  # noqa: S108  # where Ray goes if the temporary folder's path is long
    seen = []
    for _ in range(N_RUNS):
        run = start_segmentation(
            trained.model_uri, scans, str(tmp_path / "output"), "--segmentation.force", env=environment, log=log
        )
        assert run.wait(TIMEOUT_S) == 0, log.read_text()[-3000:]
        seen.append((_files(home), _files(temporary)))
    assert seen[-1] == seen[1], [after ^ before for after, before in zip(seen[-1], seen[1], strict=True)]
    assert not [p for p in set(Path("/tmp").iterdir()) - in_shared if "ray" in p.name or "lesions" in p.name]  # noqa: S108
    left = _files(tmp_path / "output")
    assert not [path for path in left if path.startswith("jobs")]
    ledgers = [path for path in left if path.startswith("ledger/")]
    assert len(ledgers) == N_RUNS, ledgers
