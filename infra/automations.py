"""Automations of the Prefect server: restart crashed runs, and send notices of failed, late and missing runs."""

import os
from datetime import timedelta
from typing import Final
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

HEARTBEAT_S: Final = 30
"""Heartbeat interval of flow runs (prefect.yaml, kubernetes/flow-run-job.json); Prefect's minimum."""

SILENT_S: Final = float(os.environ.get("LESIONS_ZOMBIE_SECONDS", 3 * HEARTBEAT_S))
MAX_STARTS: Final = 4
"""Number of starts after which a crashing run is not restarted."""

SETTLED_S: Final = 45.0
"""Seconds from a crash to the restart.

A process worker reports a killed process twice, up to 13 s apart (prefect 3.8.8: `runner/_flow_run_executor.py:202`,
`workers/base.py:1712`); the second report would mark the restarted run as crashed, and start it beside itself.
"""

MOST_STARTS: Final = 100
"""More than anybody starts a run by hand."""

NIGHT: Final = timedelta(hours=26)
"""Time within which the next nightly run must complete."""

NOT_RUNNING: Final = {
    f"prefect.flow-run.{name}"
    for name in (
        *("Completed", "Failed", "Cancelled", "Cancelling", "Crashed"),
        *("AwaitingRetry", "AwaitingConcurrencySlot", "Scheduled", "Pending", "Paused", "Suspended"),
    )
}
"""States in which a missing heartbeat means nothing: after an eviction, for instance, a new pod has to start."""

CRASHED: Final = "prefect.flow-run.Crashed"
MOVED_ON: Final = {
    f"prefect.flow-run.{name}"
    for name in ("Running", "Completed", "Failed", "Cancelled", "AwaitingRetry", "Scheduled", "Pending")
}
"""States in which a crashed run needs no restart any more, as when somebody retried it by hand."""

RUNS: Final = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})
OURS: Final = ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.lesions"})
NIGHTLY: Final = ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.nightly"})
BODY: Final = (
    "{{ flow.name }} / {{ flow_run.name }}: {{ flow_run.state.name }}. {{ flow_run.state.message }}\n"
    "{{ flow_run|ui_url }}"
)


def automations(notify: UUID | None) -> list[AutomationCore]:
    """Return all automations; notices only with a notification block.

    Args:
        notify: Id of the notification block; None sends no notices.
    """
    return [_mark_dead(), _start_again()] + ([] if notify is None else _notices(notify))


def _mark_dead() -> AutomationCore:
    heartbeat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name="lesions: a run without heartbeat has crashed",
        description="Its process or pod has died; without this it would stay Running for ever.",
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
    return AutomationCore(
        name="lesions: a crashed run is restarted",
        description=f"At most {MAX_STARTS} starts. The run finds its job, or continues from the ledger.",
        trigger=EventTrigger(
            after={CRASHED},
            expect={CRASHED, *MOVED_ON},  # itself too: only then does Prefect count the time anew from each report
            match=_runs_started(range(MAX_STARTS)),  # 0: it crashed before it ran
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SETTLED_S),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED, name="AwaitingRetry", message="Restarted after a crash.", force=True
            )
        ],
    )


def _runs_started(times: range) -> ResourceSpecification:
    """Return runs that were started so often."""
    counts = [str(n) for n in times]
    return ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": counts})


def _notices(notify: UUID) -> list[AutomationCore]:
    def send(subject: str, body: str = BODY) -> list[SendNotification]:
        return [SendNotification(block_document_id=notify, subject=subject, body=body)]

    def when(*states: str, of: ResourceSpecification = RUNS) -> EventTrigger:
        return EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in states},
            match=of,
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
            name="lesions: notice of a failed run",
            description="Inputs were lost, or the run could not continue; see the message of its state.",
            trigger=when("Failed"),
            actions=send("Run failed"),
        ),
        AutomationCore(
            name="lesions: notice of a run that keeps crashing",
            description=f"Start {MAX_STARTS} crashed, too; it is not restarted.",
            trigger=when("Crashed", of=_runs_started(range(MAX_STARTS, MOST_STARTS))),
            actions=send("Run crashed four times"),
        ),
        AutomationCore(
            name="lesions: notice of a late run",
            description="The run should have started: check that a worker runs and that no other run holds the limit.",
            trigger=when("Late"),
            actions=send("Run is late: no worker?"),
        ),
        AutomationCore(
            name="lesions: notice of a night without masks",
            description="No nightly run has completed for 26 hours.",
            trigger=never_ran,
            actions=send("No nightly run has completed for 26 h", "Check the schedule, the worker and the last run."),
        ),
    ]
