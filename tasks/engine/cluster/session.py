"""Ray session: joins a cluster or starts Ray here, and stops only what it started."""

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from pathlib import Path

import ray
from ray._private import ray_constants
from ray.exceptions import RayError, RayTaskError

from tasks.core.config.compute import ComputeConfig
from tasks.core.credentials import require_no_credentials
from tasks.core.errors import ClusterError, LesionWorkflowError
from tasks.core.plural import counted
from tasks.engine.cluster.environment import (
    LOOPBACK_ENVIRONMENT,
    START_ENVIRONMENT,
    WITHHELD_FROM_WORKERS,
    WORKER_ENVIRONMENT,
)
from tasks.engine.cluster.token import make_token_private

logger = logging.getLogger(__name__)

SPARE_CPUS = 2
"""Logical CPUs besides those of training workers, without which Ray Data and the training would wait for ever."""

FOLDER_PREFIX = "lesions-ray-"
"""Name of the temporary folder of Ray on this machine, of each session its own."""
SESSION_FOLDER = "r"
"""What Ray is given, inside: Ray lets every user write to it (`ray/_common/utils.py:612`), so its parent is private."""
MAX_PARENT = 18
"""Longest path of the folder it is made in: the path of a socket has 107 bytes (unix(7)), of which Ray needs 67."""

RAY_ON_TOKENS = "ray._private.authentication.authentication_token_setup"

N_STARTS = 2
"""Number of start attempts; the second is faster, because the files are in the page cache."""

_AHEAD: "ContextVar[list[Future[float]]]" = ContextVar("ahead")
"""Ray of this machine that was started ahead of its session, until that takes it: the seconds it took, or its error."""


@contextlib.contextmanager
def started_ahead(compute: ComputeConfig, *, n_reserved_cpus: int = 0, has_dashboard: bool = False) -> Iterator[None]:
    """Start Ray on this machine for the first session of the body, which takes it over, or raises its error.

    Does nothing with an address, or if Ray runs. Parameters are those of that session.
    """
    if compute.ray_address or ray.is_initialized():
        yield
        return
    started, ahead = time.monotonic(), Future[float]()
    try:
        _start(compute, n_reserved_cpus, has_dashboard=has_dashboard)
        ahead.set_result(time.monotonic() - started)
    except ClusterError as err:
        ahead.set_exception(err)
    waiting = [ahead]
    token = _AHEAD.set(waiting)
    try:
        yield
    finally:
        _AHEAD.reset(token)
        if waiting:
            _stop()


@contextlib.contextmanager
def session(
    compute: ComputeConfig, *, n_reserved_cpus: int = 0, n_gpus: int = 0, has_dashboard: bool = False
) -> Iterator[None]:
    """Hold a Ray session while the body runs.

    Args:
        compute: Cluster; without an address, Ray starts on this machine, bound to loopback.
        n_reserved_cpus: Logical CPUs that the step's actors hold while it runs.
        n_gpus: GPUs the step needs; Ray on this machine never gets more than it has.
        has_dashboard: Whether Ray on this machine has a dashboard, on loopback; without one it starts faster, but Ray
            Train logs failed queries without end.

    Raises:
        ClusterError: If the cluster cannot be reached, Ray does not start here, or this machine lacks the GPUs.
        ConfigError: If the address holds credentials.
        LesionWorkflowError: An error of a worker, without Ray's wrapper.
    """
    require_no_credentials(compute.ray_address)
    if compute.is_remote:  # each step is a job, which holds a session of its own
        yield
        return
    ahead, started = _AHEAD.get([]), time.monotonic()
    if ray.is_initialized() and not ahead:
        with _unwrapped():
            _check_gpus(compute, n_gpus)
            yield
        return
    if ahead:
        seconds = ahead.pop().result()
    else:
        _start(compute, n_reserved_cpus, has_dashboard=has_dashboard)
        seconds = time.monotonic() - started
    try:
        n_cpus = None if compute.ray_address else os.cpu_count()
        logger.info("cluster: %s, ready in %.1f s", _size(n_cpus), seconds)
        _check_gpus(compute, n_gpus)
        with _unwrapped():
            yield
    finally:
        _stop()


def _stop() -> None:
    """Stop Ray, its autoscaler's monitor first.

    Else Ray would stop it after the control store, to which it reports its end, and wait for that for a whole second
    (ray 2.60: `ray/_private/node.py:2069`, `ray/autoscaler/_private/monitor.py:588`). What it wrote goes with it, as do
    the temporary files of workers, which Ray kills.
    """
    node = ray._private.worker._global_node
    folder = Path(node.get_temp_dir_path()).parent if node is not None else None
    try:
        if node is not None:
            node.kill_monitor(check_alive=False)
    finally:
        ray.shutdown()
        if folder is not None and folder.name.startswith(FOLDER_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)


def _check_gpus(compute: ComputeConfig, n_asked: int) -> None:
    n_here = int(ray.cluster_resources().get("GPU", 0))
    if n_here < n_asked and not compute.ray_address:  # a cluster may yet start nodes
        raise ClusterError(
            f"{counted(n_asked, 'GPU')} asked for, {n_here} found on this machine. Set training.num_workers and "
            "training.gpus_per_worker to what there is, or compute.ray_address to a cluster that has them."
        )


def _size(n_cpus: int | None) -> str:
    """Return nodes, CPUs and GPUs; on this machine the CPUs it has, because Ray may be told of more (`SPARE_CPUS`)."""
    resources, n_nodes = ray.cluster_resources(), sum(node["Alive"] for node in ray.nodes())
    named = {"node": n_nodes, "CPU": n_cpus or int(resources.get("CPU", 0)), "GPU": int(resources.get("GPU", 0))}
    return ", ".join(counted(n, noun) for noun, n in named.items())


@contextlib.contextmanager
def _unwrapped() -> Iterator[None]:
    """Raise the project's error inside an error of Ray, so that the user reads one sentence."""
    try:
        yield
    except RayError as err:
        own = own_error(err)
        if own is not None:
            raise own from err
        if isinstance(err, RayTaskError):  # a bug in a task: its traceback is what helps
            raise
        raise ClusterError(f"Ray lost the workers of a step: {err}") from err


def own_error(err: BaseException | None) -> LesionWorkflowError | None:
    """Return the project's error inside an error of Ray, if there is one, among causes and workers."""
    if err is None:
        return None
    # Ray's wrapper poses as the class of its cause, but its text is a traceback.
    if isinstance(err, LesionWorkflowError) and not isinstance(err, RayError):
        return err
    failures = (getattr(err, "worker_failures", None) or {}).values()  # Ray Train's, by worker rank
    inner = (
        *failures,
        *(getattr(err, name, None) for name in ("_base_exc", "cause", "controller_failure", "__cause__")),
    )
    return next((own for own in map(own_error, inner) if own is not None), None)


def _start(compute: ComputeConfig, n_reserved_cpus: int, *, has_dashboard: bool) -> None:
    if compute.ray_address:
        try:
            ray.init(
                address=compute.ray_address,
                runtime_env={"env_vars": WORKER_ENVIRONMENT | WITHHELD_FROM_WORKERS},
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except (ConnectionError, ValueError, RuntimeError) as err:
            raise ClusterError(f"No Ray cluster answers at {compute.ray_address!r}: {err}") from err
        return
    n_cpus = max(os.cpu_count() or 1, n_reserved_cpus + SPARE_CPUS)
    _start_here(n_cpus, has_dashboard=has_dashboard)


def _start_here(n_cpus: int, *, has_dashboard: bool) -> None:
    """Start Ray on this machine, with a second attempt if needed.

    Raises:
        ClusterError: If it did not start.
    """
    for name, seconds in START_ENVIRONMENT.items():
        os.environ.setdefault(name, seconds)
    make_token_private()
    logging.getLogger(RAY_ON_TOKENS).setLevel(logging.ERROR)  # it says at every start that it asks for one
    withheld = {name: value for name, value in WITHHELD_FROM_WORKERS.items() if name in os.environ}
    parent = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent if len(parent) <= MAX_PARENT else "/tmp")  # noqa: S108
    for n_left in reversed(range(N_STARTS)):
        try:
            # Inherited by workers: Ray starts one per CPU at once, which none with a runtime environment could use.
            with _variables(WORKER_ENVIRONMENT | LOOPBACK_ENVIRONMENT | {"TMPDIR": folder}), _without_clusters():
                ray.init(
                    address="local",  # else Ray would join whatever cluster this machine last started
                    _temp_dir=str(Path(folder, SESSION_FOLDER)),
                    include_dashboard=has_dashboard,
                    dashboard_host="127.0.0.1",
                    # Ray runs its workers at niceness 15, behind its own services, which cost a model on a CPU a tenth
                    # of its speed
                    _system_config={"worker_niceness": 0},
                    num_cpus=n_cpus,
                    runtime_env={"env_vars": withheld} if withheld else None,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                )
        except (KeyboardInterrupt, SystemExit):
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except Exception as err:  # what Ray 2.60 raises for a node that is late is a bare one
            ray.shutdown()
            if not n_left:
                shutil.rmtree(folder, ignore_errors=True)
                raise ClusterError(
                    f"Ray did not start on this machine, {N_STARTS} times ({_first_line(err)}). The machine may be too "
                    "busy: start again later, raise RAY_gcs_server_port_wait_time_s and RAY_raylet_start_wait_time_s, "
                    "or set compute.ray_address to a cluster that runs."
                ) from err
            logger.warning("cluster: Ray did not start in time; restarting it")
        else:
            return


@contextlib.contextmanager
def _without_clusters() -> Iterator[None]:
    """Let Ray start on loopback alone: what its processes read from the environment, this one read at import."""
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = True


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the body runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _first_line(err: Exception) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]
