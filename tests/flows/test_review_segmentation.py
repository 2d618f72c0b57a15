"""The flow of the review: what it keeps in Prefect, and when it ends not green."""

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from flows.review_segmentation import review_segmentation
from tasks.core.errors import ConfigError
from tests.phantoms import write_phantoms
from tests.stages.reviewed import correct_with_itk, publish_segmentation, put_back, write_verdicts

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]


def test_review_ends_green_until_something_is_newly_refused(tmp_path: Path) -> None:
    """Packages go out and a correction comes in; a refused one fails the run once, and no name of it is in Prefect."""
    write_phantoms(tmp_path / "made", n_patients=1, n_slices=3, size_px=96, first_patient=70)
    output = tmp_path / "output"
    rows = publish_segmentation(tmp_path / "made" / "frames", output)
    assert review_segmentation(str(output), n_scans=2).n_packages == 2
    write_verdicts(output, *((row, "correct") for row in rows.values()))
    review_segmentation(str(output))
    correct_with_itk(output, "phantom_070_1")
    put_back(output, "john_doe.nii.gz", b"x")
    state = review_segmentation(str(output), return_state=True)
    assert state.is_failed()
    assert "1 verdict, correction or package newly refused" in (state.message or "")
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        artifacts = {artifact.key: str(artifact.data) for artifact in client.read_artifacts(artifact_filter=of_run)}
    assert "| all | 0 | 3 | 0 | 1 |" in artifacts["review-agreement"]
    assert '"n_packages": 2, "n_verdicts": 3, "n_withdrawn": 0, "n_corrections": 1' in artifacts["review"]
    assert "john_doe" not in "".join(artifacts.values()) + (state.message or "")
    assert review_segmentation(str(output), return_state=True).is_completed()


def test_bad_parameters_are_refused(tmp_path: Path) -> None:
    """A folder of somebody else, and a negative number of scans, are refused before anything is written."""
    (tmp_path / "letter.txt").write_text("not ours")
    with pytest.raises(ConfigError, match="so no finished segmentation"):
        review_segmentation(str(tmp_path))
    with pytest.raises(ConfigError, match="n_scans is -1"):
        review_segmentation(str(tmp_path), n_scans=-1)
