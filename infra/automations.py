"""What the Prefect server does by itself: find dead runs and start them again, and say what went wrong or never ran."""

import os
from datetime import timedelta
from typing import Final
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

HEARTBEAT_S: Final = 30
"""What flow runs are given (prefect.yaml, kubernetes/flow-run-job.json); the least that Prefect takes."""

SILENT_S: Final = float(os.environ.get("LESIONS_ZOMBIE_SECONDS", 3 * HEARTBEAT_S))
MAX_STARTS: Final = 4
"""A run that crashes this often is left to a person."""

NIGHT: Final = timedelta(hours=26)
"""A nightly run has to complete within this after the last one."""

NOT_RUNNING: Final = {
    f"prefect.flow-run.{name}"
    for name in (
        *("Completed", "Failed", "Cancelled", "Cancelling", "Crashed"),
        *("AwaitingRetry", "AwaitingConcurrencySlot", "Scheduled", "Pending", "Paused", "Suspended"),
    )
}
"""States in which silence says nothing: an evicted pod, for instance, waits for the next one."""

RUNS: Final = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})
OURS: Final = ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.lesions"})
NIGHTLY: Final = ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.nightly"})
BODY: Final = (
    "{{ flow.name }} / {{ flow_run.name }}: {{ flow_run.state.name }}. {{ flow_run.state.message }}\\n"
    "{{ flow_run|ui_url }}"
)


def automations(notify: UUID | None) -> list[AutomationCore]:
    """Return all automations; those that tell somebody only where there is somebody to tell.

    Args:
        notify: Id of the notification block.
    """
    return [_mark_dead(), _start_again()] + ([] if notify is None else _notices(notify))


def _mark_dead() -> AutomationCore:
    heartbeat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name="lesions: a silent run has crashed",
        description="Its process or pod has died and says nothing; without this it would stay Running for ever.",
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat, *NOT_RUNNING},
            match=RUNS,
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENT_S),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="No heartbeat: its process or pod has died.")],
    )


def _start_again() -> AutomationCore:
    counts = [str(n) for n in range(1, MAX_STARTS)]
    return AutomationCore(
        name="lesions: a crashed run is started again",
        description=f"Up to {MAX_STARTS} starts in all. It finds its job again, or goes on by the ledger.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": counts}),
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED, name="AwaitingRetry", message="Started again after a crash.", force=True
            )
        ],
    )


def _notices(notify: UUID) -> list[AutomationCore]:
    def tell(subject: str, body: str = BODY) -> list[SendNotification]:
        return [SendNotification(block_document_id=notify, subject=subject, body=body)]

    def when(*states: str) -> EventTrigger:
        return EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in states},
            match=RUNS,
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        )

    never_ran = EventTrigger(
        after={"prefect.flow-run.Completed"},
        expect={"prefect.flow-run.Completed"},
        match=RUNS,
        match_related=NIGHTLY,
        for_each={"related:flow:prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=NIGHT,
    )
    return [
        AutomationCore(
            name="lesions: tell of a failed run",
            description="Something was lost, or the run could not go on; its state says which.",
            trigger=when("Failed"),
            actions=tell("Run failed"),
        ),
        AutomationCore(
            name="lesions: tell of a late run",
            description="It should have begun: is a worker running, does another run hold the limit?",
            trigger=when("Late"),
            actions=tell("Run is late: no worker?"),
        ),
        AutomationCore(
            name="lesions: tell of a night without masks",
            description="No nightly run has completed for 26 hours, for whatever reason.",
            trigger=never_ran,
            actions=tell("No nightly run has completed for 26 h", "Look at the schedule, the worker and the last run."),
        ),
    ]
