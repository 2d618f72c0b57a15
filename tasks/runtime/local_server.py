"""Start of Prefect's temporary server for runs without a configured server."""

import logging

import httpx
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

from tasks.core.errors import ServerError

logger = logging.getLogger(__name__)

N_STARTS = 2
"""Number of start attempts; the second is faster, because the files are in the page cache."""


def start_local_server() -> None:
    """Start Prefect's temporary server unless one is configured; flows find it running.

    Flows would start it themselves, but with a traceback if a busy machine exceeds the timeout.

    Raises:
        ServerError: If it does not respond within PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, twice.
    """
    if PREFECT_API_URL.value():
        return
    for n_left in reversed(range(N_STARTS)):
        server = SubprocessASGIServer()
        try:
            server.start()
        except (RuntimeError, httpx.HTTPError) as err:
            server.stop()
            if not n_left:
                raise ServerError(
                    "Prefect's temporary server did not respond within "
                    f"{PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()} s, {N_STARTS} times; the machine may "
                    "be too busy. Start again later, raise PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, or set "
                    "PREFECT_API_URL to a server that runs."
                ) from err
            logger.warning("Prefect's temporary server did not respond in time; restarting it")
        else:
            return
