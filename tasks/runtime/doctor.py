"""Checks of `lesions doctor`: each returns what it found and, if that is not as needed, what to do."""

import importlib.metadata
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import ray
from packaging.requirements import Requirement
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import DeploymentSchedule, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.settings import PREFECT_API_URL
from pydantic import ValidationError

from tasks.core.addresses import scrubbed, shown_uri
from tasks.core.config.compute import ComputeConfig
from tasks.core.credentials import require_no_credentials
from tasks.core.errors import LesionWorkflowError, ServerError, StorageError
from tasks.core.handles import Finding
from tasks.core.plural import counted
from tasks.engine.cluster.session import session
from tasks.engine.jobs.connection import connect
from tasks.io import storage
from tasks.io.outputs import bundles
from tasks.io.outputs.ownership import require_ours
from tasks.runtime.prefect_server import require_server

DISTRIBUTION = "lung-lesion-workflow"
PATIENCE_S = 10.0
"""Seconds to wait for a cluster."""
PAGE = 200
"""Largest number of deployments that a Prefect server returns per request."""


def drifted_pins() -> list[str]:
    """Return a sentence for each library whose installed version is not the pinned one."""
    drifted = []
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            drifted.append(f"{requirement.name} is not installed, {requirement.specifier} is needed")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            drifted.append(f"{requirement.name} is {installed}, {requirement.specifier} is needed")
    return drifted


def check_install() -> Finding:
    """Compare the installed libraries with the pinned ones."""
    drifted = drifted_pins()
    if drifted:
        return Finding(is_well=False, sentence="; ".join(drifted) + ". Run `make setup`.")
    return Finding(is_well=True, sentence="all libraries have the pinned versions")


def check_storage() -> Finding:
    """Write, read and remove a local object."""
    with tempfile.TemporaryDirectory() as folder:
        uri = storage.join(folder, "probe")
        try:
            storage.publish(uri, b"probe")
            is_same = storage.read_bytes(uri) == b"probe"
        except StorageError as err:
            return Finding(is_well=False, sentence=str(err))
    return Finding(is_well=is_same, sentence=f"{folder.rsplit('/', 1)[0]} can be written and read")


def check_addresses() -> Finding:
    """Look at the addresses that the environment names for deployments: model, scans and output of the night."""
    checks: dict[str, Callable[[str], object]] = {
        "LESIONS_MODEL_URI": bundles.read_bundle,
        "LESIONS_SCANS_URI": storage.require,
        "LESIONS_OUTPUT_URI": lambda uri: require_ours(uri, "segmentation"),
    }
    named = {name: uri for name in checks if (uri := os.environ.get(name))}
    wrong = []
    for name, uri in named.items():
        try:
            require_no_credentials(uri)
            checks[name](uri)
        except LesionWorkflowError as err:
            wrong.append(f"{name}: {err}")
    if wrong:
        return Finding(is_well=False, sentence=" ".join(wrong))
    unnamed = [name for name in checks if name not in named]
    not_checked = f"not set and not checked: {', '.join(unnamed)}" if unnamed else ""
    return Finding(
        is_well=True,
        sentence="; ".join(filter(None, [f"{', '.join(named)} can be used" if named else "", not_checked])),
    )


def check_ray() -> Finding:
    """Ask the cluster at LESIONS_RAY_ADDRESS; without one, start Ray on this machine."""
    address = os.environ.get("LESIONS_RAY_ADDRESS", "")
    try:
        compute = ComputeConfig(ray_address=address)
        if compute.is_remote:
            connect(address, patience_s=PATIENCE_S)
            return Finding(is_well=True, sentence=f"{address} responds")
        with session(compute):
            resources = ray.cluster_resources()
    except ValidationError as err:
        return Finding(
            is_well=False,
            sentence=f"LESIONS_RAY_ADDRESS is {address!r}: {err.errors()[0]['msg'].removeprefix('Value error, ')}",
        )
    except LesionWorkflowError as err:
        return Finding(is_well=False, sentence=str(err))
    where = address or "on this machine"
    return Finding(
        is_well=True,
        sentence=f"{where}: {resources.get('CPU', 0):.0f} logical CPUs, {resources.get('GPU', 0):.0f} GPUs",
    )


def check_prefect() -> Finding:
    """Check the health and the schedules of the configured Prefect server; without one, flows start their own."""
    url = PREFECT_API_URL.value()
    if not url:
        return Finding(
            is_well=True, sentence="no server configured; each run starts its own. Set PREFECT_API_URL to use yours."
        )
    try:
        require_server()
        with get_client(sync_client=True) as client:
            scheduled = _on_schedule(client)
            stalled = [found.name for found in scheduled if not _has_run_ahead(client, found)]
    except ServerError as err:
        return Finding(is_well=False, sentence=str(err))
    except httpx.HTTPError as err:
        return Finding(
            is_well=False, sentence=f"{shown_uri(url)} did not list its deployments ({scrubbed(str(err), url)})."
        )
    if stalled:
        has = "has" if len(stalled) == 1 else "have"
        return Finding(
            is_well=False,
            sentence=f"{counted(len(stalled), 'deployment')} {has} an active schedule and no scheduled run: "
            f"{', '.join(stalled)}. Unless deployed within the last minute, the server's scheduler does not work; "
            "look for errors in its log. Where the server runs, sqlalchemy must be 2.0.x.",
        )
    return Finding(
        is_well=True,
        sentence=f"{shown_uri(url)} responds, {counted(len(scheduled), 'deployment')} on an active schedule",
    )


def _on_schedule(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """Return every deployment with an active schedule that has no end."""
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(offset=len(found), limit=PAGE):
        found += page
    return [each for each in found if not each.paused and any(map(_has_no_end, each.schedules))]


def _has_no_end(schedule: DeploymentSchedule) -> bool:
    """Return whether an active schedule always has a next date; a recurrence rule may have passed its last."""
    return schedule.active and isinstance(schedule.schedule, CronSchedule | IntervalSchedule)


def _has_run_ahead(client: SyncPrefectClient, deployment: DeploymentResponse) -> bool:
    """Return whether the server has scheduled a run of a deployment."""
    ahead = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(after_=datetime.now(UTC)),
    )
    return bool(client.read_flow_runs(flow_run_filter=ahead, limit=1))


CHECKS: dict[str, Callable[[], Finding]] = {
    "install": check_install,
    "storage": check_storage,
    "addresses": check_addresses,
    "Ray": check_ray,
    "Prefect": check_prefect,
}
