"""Real Ray clusters on loopback: nodes as processes of their own, a Jobs API, and a token that it wants."""

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

import httpx
import psutil

RAY = str(Path(sys.executable).with_name("ray"))
START_S = 120


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
        nodes: Each node's process, the head's first.
    """

    environment: dict[str, str]
    port: int
    dashboard_port: int
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Return where jobs are submitted."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def start_head(self) -> None:
        """Start the head, and wait until it takes jobs."""
        options = ["--head", f"--port={self.port}", "--dashboard-host=127.0.0.1"]
        self._start(*options, f"--dashboard-port={self.dashboard_port}")
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

    def kill(self, place: int) -> None:
        """Kill a node with everything on it, as when its machine is gone."""
        process = psutil.Process(self.nodes[place].pid)
        family = [*process.children(recursive=True), process]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=20)
        self.nodes[place].wait()

    def _start(self, *options: str) -> None:
        command = [
            RAY,
            "start",
            "--block",
            "--num-cpus=2",
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
def ray_cluster(n_nodes: int = 1) -> Iterator[RayCluster]:
    """Run a cluster of so many nodes of two CPUs each."""
    with tempfile.TemporaryDirectory(prefix="ray") as home:
        environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "RAY_TMPDIR": home,
            "RAY_JOB_STOP_WAIT_TIME_S": "60",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        environment.pop("RAY_ADDRESS", None)
        found = RayCluster(environment, free_port(), free_port())
        try:
            found.start_head()
            for _ in range(n_nodes - 1):
                found.add_node()
            yield found
        finally:
            for place in range(len(found.nodes)):
                with suppress(psutil.NoSuchProcess):
                    found.kill(place)
