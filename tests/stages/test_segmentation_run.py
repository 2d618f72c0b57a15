import pytest

from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.step_inputs import SegmentRequest
from tasks.stages.segmentation_run import Run
from tests.core.samples import MODEL


def _run(asked: SegmentationConfig, *, bundle_flips: bool) -> Run:
    request = SegmentRequest(model_uri="", scans_uri="", output_uri="", segmentation=asked, run_id="run")
    return Run.of(request, MODEL.model_copy(update={"test_time_flips": bundle_flips}))


@pytest.mark.parametrize(
    ("bundle_flips", "asked", "n"), [(False, None, 1), (True, None, 4), (True, False, 1), (False, True, 4)]
)
def test_flips_are_the_bundles_or_the_runs(*, bundle_flips: bool, asked: bool | None, n: int) -> None:
    """What a run asks for overrides the bundle, and its price is told."""
    assert _run(SegmentationConfig(test_time_flips=asked), bundle_flips=bundle_flips).n_predictions == n


@pytest.mark.parametrize("change", [{"test_time_flips": False}, {"threshold": 0.3}, {"precision": "bfloat16"}], ids=str)
def test_what_changes_a_mask_makes_a_scan_due_again(change: dict[str, object]) -> None:
    """Another parameter, another digest: no mask of the old one is taken for finished."""
    before, after = (_run(SegmentationConfig.model_validate(asked), bundle_flips=True) for asked in ({}, change))
    assert before.params_digest != after.params_digest


@pytest.mark.parametrize("flips", [True, False])
def test_asking_for_what_the_bundle_does_makes_nothing_due(*, flips: bool) -> None:
    """The masks would be the same."""
    asked, silent = (_run(SegmentationConfig(test_time_flips=word), bundle_flips=flips) for word in (flips, None))
    assert asked.params_digest == silent.params_digest
