"""How many training workers a cluster has room for: now, and after new nodes were waited for."""

from collections.abc import Callable

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from tasks.core.errors import ClusterError
from tasks.core.learning import TrainingConfig
from tasks.core.wording import counted
from tasks.engine.cluster import SPARE_CPUS


def needs_of_one(training: TrainingConfig) -> dict[str, float]:
    """Return what a worker asks of the cluster; one on GPUs asks for no CPU, which nodes with GPUs may not offer."""
    return {"CPU": 0, "GPU": training.gpus_per_worker} if training.gpus_per_worker else {"CPU": 1}


def n_at_once(training: TrainingConfig) -> int:
    """Return how many such trainings the cluster holds at a time, each with CPUs of its own for its slices."""
    n_cpus = int(ray.cluster_resources().get("CPU", 0))
    if training.gpus_per_worker:
        return max(1, min(n_workers_held(training) // training.num_workers, n_cpus // SPARE_CPUS))
    return max(1, n_cpus // (training.num_workers + SPARE_CPUS))


def n_workers_held(training: TrainingConfig, n_trainings: int = 1) -> int:
    """Return how many workers the cluster holds now, for each of several trainings; one worker's GPUs are on one node.

    Args:
        training: What a worker needs.
        n_trainings: Trainings that share the cluster.
    """
    if training.gpus_per_worker:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return sum(int(node.get("GPU", 0)) // training.gpus_per_worker for node in nodes) // n_trainings
    return max(0, int(ray.cluster_resources().get("CPU", 0)) // n_trainings - SPARE_CPUS)


def wait_for_workers(
    training: TrainingConfig, *, fewest: int, n_trainings: int, tell: Callable[[str], object] = lambda _: None
) -> int:
    """Return how many workers can be had, at most as many as were asked for, with even shares of a batch.

    If nodes are missing, all are asked for as a placement group, for which an autoscaler starts nodes and which ends
    with this job.

    Args:
        training: What was asked for.
        fewest: Workers below which it is not worth to begin.
        n_trainings: Trainings that share the cluster.
        tell: Told if it waits.

    Raises:
        ClusterError: If fewer can be had after `node_wait_minutes`; Ray Train would wait for ever, and say nothing.
    """
    wanted = training.num_workers
    if n_workers_held(training, n_trainings) >= wanted:
        return wanted
    needs = ", ".join(counted(int(n), kind) for kind, n in needs_of_one(training).items() if n)
    waits = f"waiting for up to {training.node_wait_minutes:g} min for nodes"
    tell(f"the cluster has no room for {counted(wanted, 'worker')} of {needs} each; {waits}")
    room = placement_group([needs_of_one(training)] * wanted + [{"CPU": 1}] * SPARE_CPUS)
    try:
        if room.wait(60 * training.node_wait_minutes):
            return wanted
    finally:
        remove_placement_group(room)
    held = min(wanted, n_workers_held(training, n_trainings))
    if held < max(fewest, 1):
        raise ClusterError(
            f"The cluster has room for {held} of {counted(wanted, 'training worker')}, each with {needs}, beside "
            f"{counted(SPARE_CPUS, 'CPU')} for their slices. Start nodes, or set training.num_workers and "
            "training.gpus_per_worker to what there is."
        )
    return next(n for n in range(held, 0, -1) if training.batch_size % (n * max(1, training.gpus_per_worker)) == 0)
