"""Hook that stops the jobs of a cancelled flow run; it runs in the flow run's process, or in the worker."""

import logging
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from tasks.core.config.compute import ComputeConfig

logger = logging.getLogger(__name__)


def stop_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # Any: what a hook is handed
    """Stop every job of a flow run on its Ray cluster."""
    del flow, state
    compute = ComputeConfig.model_validate(flow_run.parameters.get("compute") or {})
    if not compute.is_remote:
        return
    from tasks.engine.jobs import client  # here, because only remote runs need Ray's job client

    stopped = client.stop_all(compute.ray_address, str(flow_run.id))
    logger.warning("cancel: stopped %s", ", ".join(stopped) or "no job: none was running")
