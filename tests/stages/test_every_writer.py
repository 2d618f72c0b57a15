"""A run that is asked for an output format writes it, and does scans again that were done without it."""

from pathlib import Path

import numpy as np
import pytest

from tasks.core.volumes import Layout
from tasks.io.formats import FORMATS
from tasks.io.formats.writers import WRITERS
from tests.format_samples import put_scan
from tests.stages.bright import bright_run, scans_of, segment
from tests.volumes import Truth, grid_around

TRUTH = Truth()
GRID = grid_around(TRUTH, (12, 44, 48), (4.0, 1.5, 1.6), np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])


def _format_of(layouts: frozenset[Layout]) -> str:
    return next(name for name, found in FORMATS.items() if found.layout in layouts)


@pytest.mark.parametrize("name", WRITERS)
def test_run_writes_the_format_it_is_asked_for(tmp_path: Path, name: str) -> None:
    """Its file lies beside the others under the scan's id; without being asked for it is not there."""
    writer = WRITERS[name]
    put_scan(str(tmp_path / "scans"), _format_of(writer.layouts), TRUTH.voxels(GRID), GRID)
    for asked in (True, False):
        options = {writer.asked_by: asked} if writer.asked_by else {}
        run = bright_run(str(tmp_path / "scans"), str(tmp_path / f"output {asked}"), **options)
        [row] = segment(run, scans_of(run))
        assert (row.status, row.warnings) == ("done", [])
        path = tmp_path / f"output {asked}" / "masks" / f"{row.scan_id}.{writer.suffix}"
        assert path.exists() == (asked or writer.asked_by is None)
        assert (row.mask_uri or "").endswith(path.name) == (writer.asked_by is None)


@pytest.mark.parametrize("name", [name for name, writer in WRITERS.items() if writer.asked_by])
def test_another_format_makes_every_scan_due_again(name: str) -> None:
    """The name of the format is in the parameters' digest, by which finished scans are known."""
    asked_by = WRITERS[name].asked_by
    without, with_it = (bright_run("", "", **options) for options in ({}, {str(asked_by): True}))
    assert without.params_digest != with_it.params_digest
