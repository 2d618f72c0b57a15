"""Quality of a scan with gaps is that of the slices that are there."""

from dataclasses import replace

import numpy as np

from tasks.core.quality import QualityModel, quality_features
from tasks.core.volumes import Grid
from tasks.io.scan_sources import ScanSource
from tasks.stages.chunk import Predicted
from tasks.stages.finish_scans import _quality
from tasks.stages.load_scans import LoadedScan, held_slices
from tests.core.samples import QUALITY
from tests.stages.bright import bright_run


def test_a_slice_that_stands_for_a_missing_one_does_not_count() -> None:
    """The third of four is missing, and the second stands for it, with the largest mask of all."""
    probability, image = np.zeros((2, 4, 32, 32), np.uint8)
    probability[[0, 1, 3], 8:14, 8:14] = 204
    probability[2, 2:30, 2:30] = 250
    grid = Grid((4, 32, 32), np.array([[0, 0, -1.0, 0], [0, -1.0, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]]))
    source = ScanSource(path="", identity="", uri="", fingerprint="", kind="dicom")
    scan = LoadedScan(source, grid=grid, missing=(2,), shape=(32, 32))
    assert held_slices(scan, 4).tolist() == [True, True, False, True]
    model = QualityModel.of([QUALITY], 0.4)
    assert model is not None
    run = replace(bright_run("", ""), quality=model, threshold=0.4)
    found = _quality(Predicted(image, scan, probability), probability, run, is_empty=False)
    features = quality_features(probability[0], image[0], None, threshold=0.4)
    assert features is not None
    assert found == model.scan([features] * 3)
