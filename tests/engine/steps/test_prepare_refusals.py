"""What preparing refuses before it removes or writes anything: no Ray is started."""

import shutil
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.core.step_inputs import PrepareRequest
from tasks.discover import discover
from tasks.engine.steps.prepare import prepare
from tasks.split import split
from tests.conftest import PREPARATION


def test_tables_of_another_run_are_refused_before_anything_is_removed(phantoms: Path, tmp_path: Path) -> None:
    """A source that was listed again meanwhile makes no dataset under the fingerprint of what was listed before."""
    source, dataset = tmp_path / "source", str(tmp_path / "dataset")
    shutil.copytree(phantoms, source)
    first = split.fn(discover.fn(str(source), dataset, PREPARATION), dataset, PREPARATION)
    (source / "masks" / "phantom_000_0.png").unlink()
    split.fn(discover.fn(str(source), dataset, PREPARATION), dataset, PREPARATION)
    kept = tmp_path / "dataset" / "slices" / "kept.parquet"
    kept.parent.mkdir()
    kept.write_bytes(b"of the dataset before")
    request = PrepareRequest(source=first, source_uri=str(source), dataset_uri=dataset, preparation=PREPARATION)
    with pytest.raises(ConfigError, match="written anew"):
        prepare(request)
    assert kept.exists()
