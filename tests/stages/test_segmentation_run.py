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


def test_the_bundles_minimum_size_is_of_the_models_grid_and_the_runs_of_the_scan() -> None:
    """A lesion of the bundle's 3 px at 256 px has 12 px at 512; a run's own number means the original image."""
    of_bundle, of_run = (_run(SegmentationConfig(min_lesion_px=asked), bundle_flips=False) for asked in (None, 3))
    assert of_bundle.min_lesion_area((2 * MODEL.input_size_px,) * 2) == 12
    assert of_run.min_lesion_area((2 * MODEL.input_size_px,) * 2) == 3
    assert of_bundle.params_digest != of_run.params_digest, "the same number, and other masks"


@pytest.mark.parametrize("flips", [True, False])
def test_asking_for_what_the_bundle_does_makes_nothing_due(*, flips: bool) -> None:
    """The masks would be the same."""
    asked, silent = (_run(SegmentationConfig(test_time_flips=word), bundle_flips=flips) for word in (flips, None))
    assert asked.params_digest == silent.params_digest
