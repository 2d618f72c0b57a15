"""The model of a fleet agrees with the simulation of the stream's own rules, whatever saturates first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.scale import MACHINES, Fleet, cheapest_in_time, simulate

LATENCY_S = 4.0
"""Of the stand-ins that `make bench` runs on a real Ray (tests/benchmarks/scale.py)."""


@pytest.mark.parametrize("n_devices", [4, 8, 16])
def test_model_and_simulation_agree_at_the_sizes_that_were_run(n_devices: int) -> None:
    """Within a tenth, at 4, 8 and 16 devices of fixed latency: the devices saturate first."""
    fleet = Fleet(n_devices, n_cpus=8, predict_s=LATENCY_S, load_s=0.05, finish_s=0.05, driver_s=0.004)
    assert fleet.bottleneck() == "devices"
    assert simulate(fleet, 20 * n_devices) == pytest.approx(fleet.seconds(20 * n_devices), rel=0.1)


@settings(max_examples=40, deadline=None)
@given(
    n_devices=st.integers(1, 64),
    n_cpus=st.integers(1, 64),
    predict_s=st.floats(0.05, 5),
    load_s=st.floats(0.05, 2),
    finish_s=st.floats(0.05, 2),
    driver_s=st.floats(0.001, 0.05),
)
def test_the_model_is_never_far_off(n_devices: int, n_cpus: int, **costs: float) -> None:
    """Over fleets of any shape the simulated time lies between the model's and half as much again."""
    fleet = Fleet(n_devices, n_cpus, **costs)
    n_chunks = 60 * (n_devices + n_cpus)
    assert 0.85 <= simulate(fleet, n_chunks) / fleet.seconds(n_chunks) <= 1.5


def test_the_archive_of_the_anchor_is_done_in_time() -> None:
    """Every kind of machine does 126,000 volumes in nine hours with fewer than the 21,000 machines of the anchor."""
    for machine in MACHINES:
        n_machines, _, hours = cheapest_in_time(machine, 1)
        assert hours <= 9.0
        assert n_machines < 21_000
