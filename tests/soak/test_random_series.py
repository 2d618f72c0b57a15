"""Many random DICOM series: as the 30 of the usual tests, with other seeds."""

from pathlib import Path

import pytest

from tests.random_series import check_against_gdcm

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("seed", range(1000, 1300))
def test_a_random_series_is_arranged_as_by_gdcm(seed: int, tmp_path: Path) -> None:
    """Gaps, copies, strangers, phases, rounding, drift, several folders: GDCM's order, or the true refusal."""
    check_against_gdcm(seed, tmp_path)
