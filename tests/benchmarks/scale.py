"""More logical GPUs than this machine has: a real Ray and the real stages around stand-ins of fixed latency."""

import functools
import time
from pathlib import Path

import numpy as np
import ray
from ray.cluster_utils import Cluster

from infra.scale import Fleet, simulate
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.groups import HuConfig, SegmentationConfig
from tasks.core.step_inputs import SegmentRequest
from tasks.core.throughput import StageSums
from tasks.engine.cluster.session import session
from tasks.engine.inference.chunks import PredictionSpec
from tasks.engine.inference.model_pool import BATCH_SIZE
from tasks.engine.inference.stream import PredictionStream
from tasks.io.scans import survey
from tasks.stages.finish_scans import finish_scans
from tasks.stages.load_scans import load_scans
from tasks.stages.segmentation_run import Run
from tests.benchmarks.setting import SIZE_PX, Row, Setting

N_DEVICES = (4, 8, 16)
N_CPUS = 8
LATENCY_S = 4.0
CHUNKS_A_DEVICE = 12


class FixedLatency:
    """A model on a device of its own: it takes its time, but none of this machine's."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the slices themselves, after a while."""
        time.sleep(LATENCY_S * len(images) / BATCH_SIZE)
        return images


def run(setting: Setting) -> list[Row]:
    """Return chunks a second at each size, against the model's and the simulation's."""
    rows = []
    for n in N_DEVICES:
        n_chunks = n * CHUNKS_A_DEVICE
        scans = setting.scans(n_chunks * BATCH_SIZE)
        sums = _stream(scans, setting.folder / f"out-{n}", n)
        load_s, finish_s = (seconds / n_chunks for seconds in (sums.load_seconds, sums.finish_seconds))
        fleet = Fleet(n, N_CPUS, LATENCY_S, load_s, finish_s)
        # the first round of all devices ends as the clock starts, and only one chunk of it was left out
        seen = (sums.slices_per_second or 0.0) / BATCH_SIZE * (n_chunks - n) / (n_chunks - 1)
        rows += [
            Row("scale", f"{n} logical GPUs, real Ray", seen, "chunks/s", seen / min(fleet.limits().values())),
            Row("scale", f"{n} logical GPUs, simulated", n_chunks / simulate(fleet, n_chunks), "chunks/s", None),
            Row("scale", f"{n} logical GPUs, modelled", n_chunks / fleet.seconds(n_chunks), "chunks/s", None),
        ]
    return rows


def _stream(scans: Path, output: Path, n_devices: int) -> StageSums:
    """Run the real stages around the stand-ins."""
    request = SegmentRequest(
        model_uri="",
        scans_uri=scans.as_uri(),
        output_uri=output.as_uri(),
        segmentation=SegmentationConfig(),
        run_id="r",
    )
    run = Run(request, 0.5, 0, None, SIZE_PX, HuConfig(), model_digest="", code_version="")
    sums = StageSums()
    work = PredictionSpec(
        load=functools.partial(load_scans, size_px=run.size_px, hu=run.hu),
        load_model=FixedLatency,
        finish=functools.partial(finish_scans, run=run),
        chunk_slices=BATCH_SIZE,
    )
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": N_CPUS, "num_gpus": n_devices})
    try:
        with session(ComputeConfig(ray_address=nodes.address)):
            for _ in PredictionStream(work, sums).rows(survey(request.scans_uri).scans()):
                pass
    finally:
        ray.shutdown()
        nodes.shutdown()
    return sums
