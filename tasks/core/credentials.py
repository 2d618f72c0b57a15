"""Check that addresses hold no credentials, because Prefect stores and shows parameters."""

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError


def require_no_credentials(uri: str) -> None:
    """Refuse an address with a user name, a password or a query, without repeating it.

    Raises:
        ConfigError: If the address has any of them.
    """
    shown = shown_uri(uri)
    if shown != uri:
        raise ConfigError(
            f"The address {shown} was given with a user name, a password or a query (?…), which Prefect stores and "
            "shows; change one that came through a deployment. Give the address alone and the credentials through the "
            "environment; in a name on a web server, write @ as %40 and ? as %3F."
        )
