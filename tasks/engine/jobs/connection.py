"""Connection to the head of a Ray cluster, which may be starting or restarting."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobSubmissionClient
from tenacity import RetryCallState, retry, retry_if_exception_message, stop_after_delay, wait_fixed

from tasks.core.addresses import scrubbed
from tasks.core.credentials import require_no_credentials
from tasks.core.errors import ClusterError

logger = logging.getLogger(__name__)
Response = TypeVar("Response")

POLL_S: Final = 2.0
PATIENCE_S: Final = 180.0
"""Seconds to wait for a head; one that Kubernetes starts again on another node takes two minutes."""

NO_RESPONSE: Final = (OSError, RayError, RuntimeError)
"""Errors of the client if the head does not respond, refuses, or has no such job; those of requests are OSErrors."""

_OF_OTHERS: Final = "Version check returned 404"
"""What the client says of a server without Ray's API (ray 2.60: `ray/dashboard/modules/dashboard_sdk.py:286`)."""


def connect(address: str, *, patience_s: float | None = None) -> JobSubmissionClient:
    """Return a client of the cluster at an address, with the token in RAY_AUTH_TOKEN.

    Args:
        address: Address of the cluster.
        patience_s: Seconds to wait for one that does not respond; None = as for a head that starts.

    Raises:
        ClusterError: If it does not respond, or refuses.
        ConfigError: If the address holds credentials.
    """
    require_no_credentials(address)
    with as_cluster_error(address):
        return retrying(JobSubmissionClient, patience_s)(address)


def retrying(call: Callable[..., Response], patience_s: float | None = None) -> Callable[..., Response]:
    """Return a call with retries, for a head that starts and refuses jobs until its agent runs."""
    patience_s = PATIENCE_S if patience_s is None else patience_s

    def report(state: RetryCallState) -> None:
        if state.attempt_number == 1 and patience_s > POLL_S:
            logger.info("cluster: the Ray head does not respond yet; waiting up to %.0f s", patience_s)

    return retry(
        retry=retry_if_exception_message(match="(?s).*(No available agent|Failed to connect)"),
        wait=wait_fixed(POLL_S),
        stop=stop_after_delay(patience_s),
        before_sleep=report,
        reraise=True,
    )(call)


@contextlib.contextmanager
def as_cluster_error(address: str) -> Iterator[None]:
    """Raise an error of the client as one of this project, with what to do about it."""
    try:
        yield
    except AuthenticationError as err:
        raise ClusterError(
            f"The Ray cluster at {address} refuses this token, or wants one. Set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN as on its head.",
            can_pass=False,
        ) from err
    except ConnectionError as err:
        raise ClusterError(
            f"No Ray head responds at {address}. Start it, or correct compute.ray_address.", can_pass=False
        ) from err
    except (KeyError, TypeError, ValueError) as err:  # of the client, over an answer or address that is not Ray's
        raise _no_head(address) from err
    except NO_RESPONSE as err:
        if _OF_OTHERS in str(err):
            raise _no_head(address) from err
        reason = scrubbed(next(iter(str(err).splitlines()), type(err).__name__), address)
        raise ClusterError(f"The Ray cluster at {address} did not take the request: {reason}") from err


def _no_head(address: str) -> ClusterError:
    return ClusterError(f"What responds at {address} is no Ray head. Correct compute.ray_address.", can_pass=False)
