"""Real Ray clusters on loopback: nodes as processes of their own, a Jobs API, and a token that it wants."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

RAY = str(Path(sys.executable).with_name("ray"))
START_S = 120
N_CPUS = 2


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class RayCluster:
    """Nodes with a Jobs API.

    Attributes:
        environment: Of its processes, with the token; what a client needs too.
        port: Of the head.
        dashboard_port: Of the Jobs API.
        growing: Options of a head that starts further nodes by itself; it has no CPUs then.
        nodes: Each node's process, the head's first.
    """

    environment: dict[str, str]
    port: int
    dashboard_port: int
    growing: tuple[str, ...] = ()
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Return where jobs are submitted."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def start_head(self) -> None:
        """Start the head, and wait until it takes jobs."""
        options = ["--head", f"--port={self.port}", "--dashboard-host=127.0.0.1"]
        options.append(f"--dashboard-port={self.dashboard_port}")
        self._start(*options, *self.growing, n_cpus=0 if self.growing else N_CPUS)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
                if httpx.get(f"{self.address}/api/jobs/", headers=token, timeout=2).is_success:
                    return
            time.sleep(0.5)
        raise TimeoutError(f"No Ray head answered at {self.address} within {START_S} s.")

    def add_node(self) -> None:
        """Start one more node."""
        self._start(f"--address=127.0.0.1:{self.port}")

    def kill(self, index: int) -> None:
        """Kill a node with everything on it, as when its machine is gone."""
        process = psutil.Process(self.nodes[index].pid)
        family = [*process.children(recursive=True), process]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=20)
        self.nodes[index].wait()

    def _start(self, *options: str, n_cpus: int = N_CPUS) -> None:
        command = [
            RAY,
            "start",
            "--block",
            f"--num-cpus={n_cpus}",
            "--disable-usage-stats",
            "--node-ip-address=127.0.0.1",
            f"--dashboard-agent-listen-port={free_port()}",
            *options,
        ]
        said = Path(self.environment["RAY_TMPDIR"], f"node-{len(self.nodes)}-{time.monotonic_ns()}.log")
        with said.open("wb") as log:
            self.nodes.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))
        deadline = time.monotonic() + START_S  # one after the other: nodes that start at once take each other's ports
        while "Ray runtime started" not in said.read_text():
            if time.monotonic() > deadline or self.nodes[-1].poll() is not None:
                raise RuntimeError(f"A Ray node did not start:\n{said.read_text()}")
            time.sleep(0.2)


@contextmanager
def ray_cluster(
    n_nodes: int = 1, *, grows: dict[str, dict[str, int]] | None = None, **further: str
) -> Iterator[RayCluster]:
    """Run a cluster of so many nodes of two CPUs each.

    Args:
        n_nodes: With the head.
        grows: Resources of each kind of node that Ray's autoscaler may start, up to two of a kind; the head has no CPUs
            then.
        further: Variables of its environment.
    """
    with tempfile.TemporaryDirectory(prefix="ray") as home:
        environment = (
            os.environ
            | further
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(16),
                "RAY_TMPDIR": home,
                "RAY_JOB_STOP_WAIT_TIME_S": "60",
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            }
        )
        environment.pop("RAY_ADDRESS", None)
        found = RayCluster(environment, free_port(), free_port())
        if grows:
            environment |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
            config = Path(home, "autoscaling.json")
            config.write_text(json.dumps(_autoscaling(grows, f"127.0.0.1:{found.port}")))
            found.growing = (f"--autoscaling-config={config}",)
        try:
            found.start_head()
            for _ in range(n_nodes - 1):
                found.add_node()
            yield found
        finally:
            for index in range(len(found.nodes)):
                with suppress(psutil.NoSuchProcess):
                    found.kill(index)


def _autoscaling(kinds: dict[str, dict[str, int]], address: str) -> dict[str, Any]:
    """Return what Ray's autoscaler reads, for nodes that are processes of this machine."""
    few: dict[str, Any] = {"node_config": {}, "min_workers": 0, "max_workers": 2}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    empty = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "growing",
        "max_workers": 2 * len(kinds),
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": head,
            **{name: {"resources": has, **few} for name, has in kinds.items()},
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{name}_commands": [] for name in empty},
    }
