"""Cluster capacity for the workers of a training: checks, waiting and reports."""

import itertools
from collections.abc import Callable
from typing import Final

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from tasks.core.config.learning import TrainingConfig
from tasks.core.errors import ClusterError
from tasks.core.plural import counted
from tasks.engine.cluster.session import SPARE_CPUS

AT_ONCE_S: Final = 2.0
"""Seconds within which free capacity is reserved."""


class NoCapacityError(ClusterError):
    """The cluster has no capacity for a training now; another training may free some when it ends."""


def needs_of_one(training: TrainingConfig) -> dict[str, float]:
    """Return the resources of a worker; one with GPUs requests no CPU, which GPU nodes may not offer."""
    return {"CPU": 0, "GPU": training.gpus_per_worker} if training.gpus_per_worker else {"CPU": 1}


def n_at_once(training: TrainingConfig) -> int:
    """Return the number of such trainings that fit the cluster at once, each with its own CPUs for slices."""
    n_cpus = _n_cpus()
    if training.gpus_per_worker:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        n_workers = sum(int(node.get("GPU", 0)) // training.gpus_per_worker for node in nodes)  # not across nodes
        return max(1, min(n_workers // training.num_workers, n_cpus // SPARE_CPUS))
    return max(1, n_cpus // (training.num_workers + SPARE_CPUS))


def wait_for_workers(training: TrainingConfig, *, fewest: int, report: Callable[[str], object] = lambda _: None) -> int:
    """Wait for capacity and return the number of workers that fit, at most those requested, with equal batch shares.

    Capacity is requested as a placement group, for which an autoscaler starts nodes and which ends with this job. Ray
    Train itself would wait for ever.

    Args:
        training: Parameters of the training.
        fewest: Least number of workers to start with.
        report: Called with a sentence before waiting.

    Raises:
        NoCapacityError: If fewer fit after `node_wait_minutes`.
    """
    wanted = training.num_workers
    if _fits(training, wanted, within_s=AT_ONCE_S):
        return wanted
    needs = ", ".join(counted(int(n), kind) for kind, n in needs_of_one(training).items() if n)
    wait = f"waiting for up to {training.node_wait_minutes:g} min"
    report(f"the cluster has no capacity now for {counted(wanted, 'worker')}, each with {needs}; {wait}")
    if _fits(training, wanted, within_s=60 * training.node_wait_minutes):
        return wanted
    for n_workers in range(wanted - 1, fewest - 1, -1):
        is_even = training.batch_size % (n_workers * max(1, training.gpus_per_worker)) == 0
        if is_even and _fits(training, n_workers, within_s=AT_ONCE_S):
            return n_workers
    raise NoCapacityError(
        f"The cluster had no capacity for {counted(fewest, 'training worker')}, each with {needs}, beside CPUs for "
        f"their slices within {training.node_wait_minutes:g} min. Start nodes, wait longer "
        "(training.node_wait_minutes), or set training.num_workers and training.gpus_per_worker to what there is."
    )


def _fits(training: TrainingConfig, n_workers: int, *, within_s: float) -> bool:
    """Return whether that many workers fit within a time, besides the CPUs for their slices.

    A cluster that is too small for all these CPUs besides one worker reserves fewer, but at least one.
    """
    needs = needs_of_one(training)
    n_cpus_beside_one = _n_cpus() - int(needs["CPU"])
    n_spare = SPARE_CPUS  # a cluster that must grow, grows by all
    if n_cpus_beside_one >= 0:
        n_spare = max(1, min(SPARE_CPUS, n_cpus_beside_one))
    group = placement_group([*itertools.repeat(needs, n_workers), *itertools.repeat({"CPU": 1}, n_spare)])
    try:
        return bool(group.wait(within_s))
    finally:
        remove_placement_group(group)


def _n_cpus() -> int:
    return int(ray.cluster_resources().get("CPU", 0))
