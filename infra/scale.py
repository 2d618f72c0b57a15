"""How long and how dear: a model of a large segmentation, and a simulation that holds the model to account.

`python -m infra.scale` prints the table of infra/decisions/0012. What was measured, and on what, and what is assumed
stands beside each input; the rest is arithmetic.
"""

import heapq
import math
from dataclasses import dataclass, field, replace
from typing import Final

from rich.console import Console
from rich.table import Table

CHUNK_SLICES: Final = 16
CHUNKS_A_CPU: Final = 2
MAX_WAITING: Final = 2
"""As tasks/engine/inference/stream.py and actors.py have them."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Machines and what a chunk of 16 slices costs them.

    Attributes:
        n_devices: Accelerators, one model each.
        n_cpus: Logical CPUs that load and finish.
        predict_s: Of a chunk, on its device.
        load_s: Of a chunk, on a CPU: read, decode, resize.
        finish_s: Of a chunk, on a CPU: restore, encode, write.
        driver_s: Of a chunk, in the one driver: hand over and take back, all three stages.
        start_s: From the start of a run to the first chunk: images pulled, nodes up, models loaded.
    """

    n_devices: int
    n_cpus: int
    predict_s: float
    load_s: float
    finish_s: float
    driver_s: float = 0.0
    start_s: float = 0.0

    def limits(self) -> dict[str, float]:
        """Return chunks a second that each part could do alone."""
        return {
            "devices": self.n_devices / self.predict_s,
            "CPUs": self.n_cpus / (self.load_s + self.finish_s),
            "driver": 1 / self.driver_s if self.driver_s else math.inf,
        }

    def bottleneck(self) -> str:
        """Return what saturates first."""
        limits = self.limits()
        return min(limits, key=lambda part: limits[part])

    def seconds(self, n_chunks: int) -> float:
        """Return how long a run takes: start, filling, and the slowest part's pace."""
        fill_s = self.load_s + self.predict_s + self.finish_s
        return self.start_s + fill_s + n_chunks / min(self.limits().values())


def simulate(fleet: Fleet, n_chunks: int) -> float:
    """Return how long a run takes by the stream's own rules, event by event."""
    stream = _Stream(fleet, n_chunks, waiting=[0] * fleet.n_devices, now=fleet.start_s, idle_cpus=fleet.n_cpus)
    while stream.n_done < n_chunks:
        stream.admit()
        stream.give_cpus()
        stream.give_devices()
        stream.take_next_event()
    return stream.now


@dataclass(slots=True)
class _Stream:
    """`PredictionStream` without its work: bounded admission, CPUs that finish first, two chunks a device."""

    fleet: Fleet
    n_todo: int
    waiting: list[int]
    now: float
    idle_cpus: int
    n_flying: int = 0
    n_done: int = 0
    to_load: int = 0
    to_finish: int = 0
    loaded: int = 0
    events: list[tuple[float, int, str, int]] = field(default_factory=list)
    n_events: int = 0
    driver_free: float = 0.0

    def admit(self) -> None:
        """Let chunks in while there is room."""
        room = CHUNKS_A_CPU * self.fleet.n_cpus + 2 * self.fleet.n_devices
        n = min(self.n_todo, room - self.n_flying)
        self.n_todo, self.n_flying, self.to_load = self.n_todo - n, self.n_flying + n, self.to_load + n

    def give_cpus(self) -> None:
        """Start to finish, then to load, on every idle CPU."""
        while self.idle_cpus and (self.to_finish or self.to_load):
            self.idle_cpus -= 1
            if self.to_finish:
                self.to_finish -= 1
                self._later(self.fleet.finish_s, "finished")
            else:
                self.to_load -= 1
                self._later(self.fleet.load_s, "loaded")

    def give_devices(self) -> None:
        """Hand loaded chunks to the idlest devices."""
        while self.loaded:
            device = min(range(self.fleet.n_devices), key=self.waiting.__getitem__)
            if self.waiting[device] >= MAX_WAITING:
                return
            self.loaded -= 1
            self.waiting[device] += 1
            if self.waiting[device] == 1:
                self._later(self.fleet.predict_s, "predicted", device)

    def take_next_event(self) -> None:
        """Go on to what happens next; the driver takes note of one thing at a time."""
        happened_at, _, kind, device = heapq.heappop(self.events)
        self.now = self.driver_free = max(self.driver_free, happened_at) + self.fleet.driver_s / 3
        if kind == "loaded":
            self.idle_cpus, self.loaded = self.idle_cpus + 1, self.loaded + 1
        elif kind == "predicted":
            self.waiting[device] -= 1
            self.to_finish += 1
            if self.waiting[device]:
                # it went on by itself: the next chunk was at it already
                heapq.heappush(self.events, (happened_at + self.fleet.predict_s, self._ticket(), "predicted", device))
        else:
            self.idle_cpus, self.n_flying, self.n_done = self.idle_cpus + 1, self.n_flying - 1, self.n_done + 1

    def _later(self, after_s: float, kind: str, device: int = 0) -> None:
        heapq.heappush(self.events, (self.now + after_s, self._ticket(), kind, device))

    def _ticket(self) -> int:
        self.n_events += 1
        return self.n_events


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of node.

    Attributes:
        name: What it is.
        n_devices: Accelerators in it; 1 for a node that predicts on its CPUs.
        n_cpus: Logical CPUs that load and finish.
        predict_s: Of a chunk, on one device.
        price_per_hour: What it costs, US dollars.
    """

    name: str
    n_devices: int
    n_cpus: int
    predict_s: float
    price_per_hour: float


N_VOLUMES: Final = 126_000
SLICES_A_VOLUME: Final = 200
"""An assumption: chest CT at 1.5 to 2 mm."""

TARGET_HOURS: Final = 9.0
"""The anchor: 126,000 volumes in under 9 h at 0.008 dollars each on 21,000 machines (as the issue cites it)."""

LOAD_S, FINISH_S, DRIVER_S = CHUNK_SLICES * 0.0031, CHUNK_SLICES * 0.0013, 0.0053
"""Of a chunk of 512x512 slices, uncompressed DICOM: processor time on a Zen 4, the last the driver's."""

READS_A_VOLUME, WRITES_A_VOLUME = 2 * SLICES_A_VOLUME, 3
"""A series' headers, then its files; mask, preview and ledger entry."""

DOLLARS_A_READ, DOLLARS_A_WRITE = 0.0004 / 1000, 0.005 / 1000
"""Class B and A operations of a standard bucket: list prices as remembered, not looked up."""

GFLOP_A_SLICE: Final = 15.7
"""U-Net on ResNet34 at 256x256, two operations a multiply-add."""

GPU_USE: Final = 0.25
"""Share of a GPU's peak that such a network reaches: an assumption until one is measured."""

MACHINES: Final = (
    Machine("2 CPUs, bfloat16 (measured)", 1, 2, CHUNK_SLICES * 0.0434, 0.03),
    Machine("8 CPUs + L4 (121 TFLOP/s peak; assumed)", 1, 8, CHUNK_SLICES * GFLOP_A_SLICE / (121_000 * GPU_USE), 0.35),
    Machine("8 CPUs + T4 (65 TFLOP/s peak; assumed)", 1, 8, CHUNK_SLICES * GFLOP_A_SLICE / (65_000 * GPU_USE), 0.22),
)


def fleet_of(machine: Machine, n_machines: int) -> Fleet:
    """Return a fleet of so many machines of a kind."""
    return Fleet(
        n_devices=n_machines * machine.n_devices,
        n_cpus=n_machines * machine.n_cpus,
        predict_s=machine.predict_s,
        load_s=LOAD_S,
        finish_s=FINISH_S,
        driver_s=DRIVER_S,
        start_s=300.0,
    )


def cheapest_in_time(machine: Machine, n_runs: int) -> tuple[int, Fleet, float]:
    """Return how many machines a run of one in `n_runs` parts of the archive needs, their fleet, and hours."""
    n_chunks = N_VOLUMES * SLICES_A_VOLUME // CHUNK_SLICES // n_runs
    for n_machines in range(1, 5000):
        fleet = fleet_of(machine, n_machines)
        hours = fleet.seconds(n_chunks) / 3600
        if hours <= TARGET_HOURS or fleet.bottleneck() == "driver":
            break
    return n_machines, fleet, hours


def main() -> None:
    """Print what the archive of the anchor takes."""
    table = Table(
        "machine",
        "runs",
        "machines a run",
        "hours",
        "$ of machines",
        "$ of requests",
        "saturates first",
        title=f"{N_VOLUMES:,} volumes of {SLICES_A_VOLUME} slices; dollars for 1,000",
    )
    requests = 1000 * (READS_A_VOLUME * DOLLARS_A_READ + WRITES_A_VOLUME * DOLLARS_A_WRITE)
    for machine in MACHINES:
        n_runs = 1
        while (found := cheapest_in_time(machine, n_runs))[2] > TARGET_HOURS:
            n_runs += 1
        n_machines, fleet, hours = found
        dollars = n_runs * n_machines * machine.price_per_hour * hours / N_VOLUMES * 1000
        more = replace(fleet, n_devices=10 * fleet.n_devices, n_cpus=10 * fleet.n_cpus)
        first = f"{fleet.bottleneck()}; at ten times the machines {more.bottleneck()}"
        table.add_row(
            machine.name, str(n_runs), str(n_machines), f"{hours:.1f}", f"{dollars:.2f}", f"{requests:.2f}", first
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
