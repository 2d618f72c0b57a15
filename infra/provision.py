"""Set-up of a Prefect server before the first deployment: `python -m infra.provision`; it can be repeated.

Creates or updates work pools, the limit on GPU steps, blocks and automations, and releases slots that no step holds;
prints what was done. Environment: PREFECT_API_URL (and PREFECT_API_AUTH_STRING), LESIONS_RESULTS_URI (storage of
results), LESIONS_NOTIFY_URL (webhook for notices of failed, late and missing runs), LESIONS_GPU_STEPS (number of steps
that may hold GPUs at once).
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.filesystems import RemoteFileSystem
from pydantic import ValidationError
from rich.console import Console
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from infra.automations import automations
from tasks.core.errors import ConfigError
from tasks.runtime.slots import GPU_LIMIT, GPU_TAG, holders

LOCAL_POOL, CLOUD_POOL = "lesions-local", "lesions-cloud"
FLOW_RUN_JOB: Final = Path(__file__).parent / "kubernetes" / "flow-run-job.json"
START_S: Final = 60.0
"""Seconds to wait for a server that is starting."""
SECOND_CHECK_S: Final = 3.0

Outcome = str


def provision(client: SyncPrefectClient, report: Callable[[str, Outcome], None]) -> None:
    """Create or update everything the deployments need on a Prefect server.

    Args:
        client: Client of the server.
        report: Called with each object and what was done: created, changed, unchanged or left out.
    """
    report(f"work pool {LOCAL_POOL}", _pool(client, LOCAL_POOL, "process", None))
    report(f"work pool {CLOUD_POOL}", _pool(client, CLOUD_POOL, "kubernetes", json.loads(FLOW_RUN_JOB.read_text())))
    report(f"limit on {GPU_TAG}", _limit(client, GPU_TAG, int(os.environ.get("LESIONS_GPU_STEPS", "1"))))
    report(f"slots of {GPU_TAG}", _release_lost_slots(client))
    report("leases of slots", _leases(client))
    results_uri, notify_url = os.environ.get("LESIONS_RESULTS_URI"), os.environ.get("LESIONS_NOTIFY_URL")
    results = _results(results_uri) if results_uri else None
    report("block lesions-results", _block(results, "lesions-results")[0])
    webhook: CustomWebhookNotificationBlock | None = None
    if notify_url:
        text = {"text": "{{subject}}\n{{body}}"}
        webhook = CustomWebhookNotificationBlock(name="lesions", url=notify_url, json_data=text)
    done, notify = _block(webhook, "lesions-notify")
    report("block lesions-notify", done)
    for wanted in automations(notify):
        known = client.read_automations_by_name(wanted.name)
        if not known:
            client.create_automation(wanted)
            report(wanted.name, "created")
        elif _comparable(known[0]) == _comparable(wanted):
            report(wanted.name, "unchanged")
        else:
            client.update_automation(known[0].id, wanted)
            report(wanted.name, "changed")


def _results(uri: str) -> RemoteFileSystem:
    try:
        return RemoteFileSystem(basepath=uri)
    except ValidationError as err:
        raise ConfigError(
            f"LESIONS_RESULTS_URI is {uri!r}; a URI of a bucket like gs://bucket/prefix was expected."
        ) from err


def _pool(client: SyncPrefectClient, name: str, kind: str, template: dict[str, Any] | None) -> Outcome:
    try:
        known = client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template or {}))
        return "created"
    if template is None or known.base_job_template == template:
        return "unchanged"
    client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
    return "changed"


def _limit(client: SyncPrefectClient, tag: str, n: int) -> Outcome:
    try:
        known = client.read_concurrency_limit_by_tag(tag)
    except ObjectNotFound:
        known = None
    if known is not None and known.concurrency_limit == n:
        return "unchanged"
    client.create_concurrency_limit(tag=tag, concurrency_limit=n)
    return "created" if known is None else "changed"


def _lost_slots(client: SyncPrefectClient) -> int:
    # in this order, so that a step that takes a slot in between counts as a holder
    taken = client.read_global_concurrency_limit_by_name(GPU_LIMIT).active_slots
    return taken - len(holders(client))


def _release_lost_slots(client: SyncPrefectClient) -> Outcome:
    """Release the slots that no running step holds; a server that lost its leases would keep them for ever."""
    n_lost = _lost_slots(client)
    if n_lost > 0:
        time.sleep(SECOND_CHECK_S)  # a step that ended between two requests looks like a lost holder only once
        n_lost = min(n_lost, _lost_slots(client))
    if n_lost <= 0:
        return "unchanged"
    client.release_concurrency_slots([GPU_LIMIT], slots=n_lost, occupancy_seconds=1)
    return f"released {n_lost}, held by no step that runs"


def _leases(client: SyncPrefectClient) -> Outcome:
    """Return where the server keeps leases of slots; in memory they are lost at a restart (infra/decisions/0016)."""
    settings = client.request("GET", "/admin/settings").json()
    module = settings["server"]["concurrency"]["lease_storage"]
    if module != "prefect.server.concurrency.lease_storage.memory":
        return f"unchanged, {module}"
    return (
        "lost when the server restarts, and with them slots and running flow runs. Start it with "
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem"
    )


def _block(wanted: Block | None, name: str) -> tuple[Outcome, UUID | None]:
    if wanted is None:
        return "left out, its variable is not set", None
    kind = type(wanted)
    # casts: by Prefect's types a call may be a coroutine, as it is inside an event loop
    try:
        known = cast("Block", kind.load(name, validate=False))
    except ValueError:
        return "created", cast("UUID", wanted.save(name))
    own = set(kind.model_fields)
    if known.model_dump(mode="json", include=own) == wanted.model_dump(mode="json", include=own):
        return "unchanged", known._block_document_id
    return "changed", cast("UUID", wanted.save(name, overwrite=True))


def _comparable(automation: Any) -> dict[str, Any]:  # Any: as read from the server, or as wanted
    """Return an automation as JSON that can be compared: without fields the server adds, sets sorted."""
    found = automation.model_dump(mode="json", include={"name", "description", "enabled", "trigger", "actions"})
    for name in ("after", "expect", "for_each"):
        found["trigger"][name] = sorted(found["trigger"][name])
    return dict(found)


@retry(retry=retry_if_exception_type(ConnectionError), wait=wait_fixed(1), stop=stop_after_delay(START_S), reraise=True)
def _wait_for_server(client: SyncPrefectClient) -> None:
    """Wait for a server that is starting."""
    fault = client.api_healthcheck()
    if fault is not None:
        raise ConnectionError(f"No Prefect server responds at {client.api_url} ({type(fault).__name__}).")


def main() -> None:
    """Set up the Prefect server at PREFECT_API_URL."""
    console = Console()
    with get_client(sync_client=True) as client:
        try:
            _wait_for_server(client)
        except ConnectionError as err:
            raise SystemExit(f"{err} Start it, or set PREFECT_API_URL to where it is.") from err
        provision(client, lambda what, done: console.print(f"{what}: {done}", highlight=False))


if __name__ == "__main__":
    main()
