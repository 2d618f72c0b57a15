"""Parameters hold no credentials: Prefect stores and shows them."""

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError


def require_no_credentials(uri: str) -> None:
    """Refuse an address that holds a user name, a password or a query, without repeating them.

    Raises:
        ConfigError: If it does.
    """
    shown = shown_uri(uri)
    if shown != uri:
        raise ConfigError(
            f"The address {shown} was given with a user name, a password or a query (?…), which Prefect stores and "
            "shows; change one that came through a deployment. Give the address alone and the credentials through the "
            "environment; in a name on a web server, write @ as %40 and ? as %3F."
        )
