"""Several Ray nodes on one machine: one is lost in mid-run, and three do three times the work of one."""

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from tasks.core.config.compute import ComputeConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.precision import ChosenPrecision
from tasks.core.rows import ScanRow
from tasks.core.schemas import SegmentationManifest
from tasks.core.step_inputs import SegmentRequest
from tasks.core.throughput import StageSums
from tasks.engine.cluster.session import SPARE_CPUS, session
from tasks.engine.inference.bundle_model import BATCH_SIZE
from tasks.engine.inference.chunks import PredictionSpec
from tasks.engine.inference.stream import PredictionStream
from tasks.io import storage
from tasks.io.outputs import bundles
from tasks.io.scans import survey
from tasks.stages.finish_scans import finish_scans
from tasks.stages.load_scans import load_scans
from tasks.stages.segmentation_run import Run
from tests.clusters import ray_cluster
from tests.conftest import Trained
from tests.soak.commands import TIMEOUT_S, compare, masks_of, start_segmentation, wait_for_progress
from tests.soak.conftest import N_SCANS

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.tf, pytest.mark.slow]

CHUNK_LATENCY_S = 1.0
"""Of the stand-in for a model: about what 16 slices take this project's model on two CPU cores."""

MIN_EFFICIENCY = 0.9


@contextmanager
def _nodes(n: int) -> Iterator[Cluster]:
    """Run a Ray cluster of so many nodes of two CPUs."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        for _ in range(n - 1):
            nodes.add_node(num_cpus=2)
        nodes.wait_for_nodes()
        yield nodes
    finally:
        nodes.shutdown()


def test_a_node_lost_in_mid_run_costs_nothing(trained: Trained, many_scans: Path, tmp_path: Path, log: Path) -> None:
    """Of three nodes one is killed in mid-run: the run completes, with the masks and rows one node alone gives."""
    alone, together = str(tmp_path / "alone"), str(tmp_path / "together")
    assert start_segmentation(trained.model_uri, many_scans, alone, log=log).wait(TIMEOUT_S) == 0
    with _nodes(3) as nodes:
        address = ("--compute.ray-address", nodes.address)
        run = start_segmentation(trained.model_uri, many_scans, together, *address, log=log)
        wait_for_progress(run, together, N_SCANS // 4)
        assert run.poll() is None, log.read_text()
        nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
        assert run.wait(TIMEOUT_S) == 0, log.read_text()
    compare(alone, together)


def test_a_run_without_an_address_joins_no_cluster(
    trained: Trained, many_scans: Path, tmp_path: Path, log: Path
) -> None:
    """Where this machine runs a cluster, a run that was given no address still has its own Ray."""
    with _nodes(1):
        output = str(tmp_path / "output")
        assert start_segmentation(trained.model_uri, many_scans, output, log=log).wait(TIMEOUT_S) == 0
    assert f"1 node, {max(os.cpu_count() or 1, 1 + SPARE_CPUS)} CPUs" in log.read_text()


class FixedLatency:
    """A stand-in for a model on a device of its own: it takes its time, but none of this machine's."""

    precision: ChosenPrecision | None = None

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the slices themselves, after a while."""
        time.sleep(CHUNK_LATENCY_S * len(images) / BATCH_SIZE)
        return images[np.newaxis]


def test_three_nodes_do_nearly_three_times_the_work_of_one(trained: Trained, many_scans: Path, tmp_path: Path) -> None:
    """With the model's time fixed, the steady state of three nodes is at least 0.9 of three times that of one."""
    speeds = {}
    ray.shutdown()  # the tests' own session: a driver has one at a time
    for n in (1, 3):
        with _nodes(n) as nodes, session(ComputeConfig(ray_address=nodes.address)):
            speeds[n], rows = _stream(trained, many_scans, tmp_path / str(n))
        assert len({row.scan_id for row in rows}) == len(rows) == N_SCANS
    efficiency = speeds[3] / (3 * speeds[1])
    assert efficiency >= MIN_EFFICIENCY, f"{speeds} slices/s: {efficiency:.2f}"


def test_nodes_are_started_from_none(trained: Trained, many_scans: Path, tmp_path: Path, log: Path) -> None:
    """Where the head has no CPU and no node runs, what is asked makes Ray's autoscaler start nodes of both kinds."""
    kinds = {"cpu": {"CPU": 2}, "gpu": {"CPU": 0, "GPU": 1}}
    with ray_cluster(grows=kinds) as nodes:
        asked = ("--compute.ray-address", f"127.0.0.1:{nodes.port}", "--compute.gpus", "2")
        output = str(tmp_path / "output")
        run = start_segmentation(trained.model_uri, many_scans, output, *asked, env=nodes.environment, log=log)
        assert run.wait(TIMEOUT_S) == 0, log.read_text()
    assert "cluster: 1 node, 0 CPUs, 0 GPUs" in log.read_text()
    assert len(masks_of(output)) == N_SCANS
    manifest = SegmentationManifest.model_validate_json((tmp_path / "output" / "manifest.json").read_bytes())
    assert manifest.speed is not None
    assert manifest.speed.n_nodes >= 1 + 1 + 2


def _stream(trained: Trained, scans: Path, output: Path) -> tuple[float, list[ScanRow]]:
    """Run the real stages around the stand-in; return slices a second and the rows."""
    request = SegmentRequest(
        model_uri=trained.model_uri,
        scans_uri=scans.as_uri(),
        output_uri=output.as_uri(),
        segmentation=SegmentationConfig(),
        run_id="stand-in",
    )
    run, sums = Run.of(request, bundles.read_card(trained.model_uri)), StageSums()
    work = PredictionSpec(
        load=functools.partial(load_scans, model_input=run.model_input),
        load_model=FixedLatency,
        finish=functools.partial(finish_scans, run=run),
        chunk_slices=BATCH_SIZE,
    )
    rows = [
        row
        for rows in PredictionStream(work, sums).rows(survey(storage.list_objects(request.scans_uri)).scans())
        for row in rows
    ]
    return sums.slices_per_second or 0.0, rows
