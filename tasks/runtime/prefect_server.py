"""Check that the configured Prefect server responds, before a flow asks it: its client ends in a long traceback."""

from typing import Final

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.core.addresses import scrubbed, shown_uri
from tasks.core.errors import ServerError

EXAMPLE: Final = "http://HOST:4200/api"
_REFUSALS: Final = (401, 403)
_IS_DOWN: Final = 429
"""HTTP status of servers that are busy, and from there on of proxies before servers that are gone."""
_START: Final = "Start it, or unset PREFECT_API_URL."


def require_server() -> None:
    """Require that the server at PREFECT_API_URL responds and takes the login.

    Raises:
        ServerError: If it does not.
    """
    url = PREFECT_API_URL.value() or ""
    shown = shown_uri(url)
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
            client.api_version()
            client.raise_for_api_version_mismatch()
    except httpx.HTTPStatusError as err:
        status = err.response.status_code
        if status >= _IS_DOWN:
            raise ServerError(f"{shown} does not respond (HTTP status {status}). {_START}") from err
        todo = (
            "Set PREFECT_API_AUTH_STRING as on the server."
            if status in _REFUSALS
            else f"Set PREFECT_API_URL to the address of Prefect's API, as {EXAMPLE}."
        )
        raise ServerError(f"{shown} refuses with HTTP status {status}. {todo}") from err
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as err:
        raise ServerError(f"PREFECT_API_URL is {shown!r}; an address as {EXAMPLE} was expected.") from err
    except httpx.HTTPError as err:
        reason = scrubbed(str(err), url) or type(err).__name__
        raise ServerError(f"{shown} does not respond ({reason}). {_START}") from err
    except ValueError as err:  # no JSON
        raise ServerError(f"{shown} is no Prefect API. Set PREFECT_API_URL to its address, as {EXAMPLE}.") from err
    except RuntimeError as err:  # of versions
        raise ServerError(f"The server at {shown} does not fit this client. {scrubbed(str(err), url)}") from err
