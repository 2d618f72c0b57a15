"""What cannot work is refused before anything starts."""

import pytest

from tasks.core.compute import ComputeConfig
from tasks.core.config import SegmentationConfig
from tasks.core.errors import ConfigError
from tasks.segment import segmentation_request

PLACES = ("gs://b/model", "gs://b/scans", "gs://b/masks")


def test_gpus_are_asked_of_a_cluster_only() -> None:
    """This machine cannot start a GPU; a cluster may, and is told how many."""
    asked = SegmentationConfig()
    with pytest.raises(ConfigError, match="no cluster"):
        segmentation_request(*PLACES, segmentation=asked, compute=ComputeConfig(gpus=2))
    compute = ComputeConfig(gpus=2, ray_address="http://head:8265")
    assert segmentation_request(*PLACES, segmentation=asked, compute=compute).n_gpus == 2


def test_an_output_below_its_scans_is_refused() -> None:
    """The next night would take its masks for scans."""
    with pytest.raises(ConfigError, match="below the scans"):
        segmentation_request(
            PLACES[0], PLACES[1], f"{PLACES[1]}/masks", segmentation=SegmentationConfig(), compute=ComputeConfig()
        )
