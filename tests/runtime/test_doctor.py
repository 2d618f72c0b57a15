"""What the doctor says of a Prefect server."""

from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled

from tasks.runtime.doctor import check_prefect


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
