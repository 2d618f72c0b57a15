"""What the doctor says of what the environment names."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled

from tasks.core.handles import Finding
from tasks.runtime import doctor
from tasks.runtime.doctor import check_addresses, check_prefect, check_ray


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server")
def test_a_schedule_that_nobody_plans_is_found() -> None:
    """A deployment whose active schedule has no run ahead is named, until it has one; the server here plans nothing."""
    nightly = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 2 * * *", timezone="UTC"), active=True)
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("stalled")
        deployment_id = client.create_deployment(flow_id, "stalled-night", schedules=[nightly])
        try:
            found = check_prefect()
            assert not found.is_well
            assert "1 deployment has an active schedule and no scheduled run: stalled-night." in found.sentence
            assert "sqlalchemy must be 2.0.x" in found.sentence
            tonight = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1))
            client.create_flow_run_from_deployment(deployment_id, state=tonight)
            assert check_prefect().is_well
        finally:
            client.delete_deployment(deployment_id)


def test_a_server_that_is_not_there_is_named() -> None:
    """An address at which nothing answers is a finding with what to do."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        found = check_prefect()
    assert not found.is_well
    assert "does not respond" in found.sentence


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address at which no Ray answers, where the environment names one."""
    monkeypatch.setattr(doctor, "PATIENCE_S", 0.1)
    monkeypatch.setenv("LESIONS_RAY_ADDRESS", "http://127.0.0.1:9")
    found = check_ray()
    assert not found.is_well
    assert "http://127.0.0.1:9" in found.sentence


@pytest.mark.parametrize("address", ["cluster", "http://user:hunter2@host"])
def test_an_address_of_no_cluster_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """What is no address, or holds a password, is a finding like others, and the password is not repeated."""
    monkeypatch.setenv("LESIONS_RAY_ADDRESS", address)
    found = check_ray()
    assert not found.is_well
    assert "hunter2" not in found.sentence


def test_addresses_of_the_night_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, bright_bundle: str, tmp_path: Path
) -> None:
    """A missing model, scans that do not exist and an output of somebody else are named; what is not set is said."""
    for name in ("LESIONS_MODEL_URI", "LESIONS_SCANS_URI", "LESIONS_OUTPUT_URI"):
        monkeypatch.delenv(name, raising=False)
    assert check_addresses().sentence.startswith("not set and not checked: LESIONS_MODEL_URI")
    (tmp_path / "a.txt").touch()
    monkeypatch.setenv("LESIONS_MODEL_URI", str(tmp_path))
    monkeypatch.setenv("LESIONS_SCANS_URI", str(tmp_path / "nowhere"))
    monkeypatch.setenv("LESIONS_OUTPUT_URI", str(tmp_path))
    found = check_addresses()
    assert not found.is_well
    for part in (
        "LESIONS_MODEL_URI: ",
        "holds no model.json",
        "LESIONS_SCANS_URI: Nothing exists",
        "no run of ours wrote",
    ):
        assert part in found.sentence
    monkeypatch.setenv("LESIONS_MODEL_URI", bright_bundle)
    monkeypatch.setenv("LESIONS_SCANS_URI", str(tmp_path))
    monkeypatch.setenv("LESIONS_OUTPUT_URI", str(tmp_path / "new"))
    can_be_used = "LESIONS_MODEL_URI, LESIONS_SCANS_URI, LESIONS_OUTPUT_URI can be used"
    assert check_addresses() == Finding(is_well=True, sentence=can_be_used)
