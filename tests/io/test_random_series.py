"""Random DICOM series are arranged as GDCM arranges them, or refused with the true reason."""

from pathlib import Path

import pytest

from tests.random_series import check_against_gdcm


@pytest.mark.parametrize("seed", range(30))
def test_a_random_series_is_arranged_as_by_gdcm(seed: int, tmp_path: Path) -> None:
    """Gaps, copies, strangers, phases, rounding, drift, several folders; `make soak` tries 300."""
    check_against_gdcm(seed, tmp_path)
