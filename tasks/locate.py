"""Which place a URI means."""

from prefect.runtime import deployment

from tasks.core.addresses import require_no_credentials, shown_uri
from tasks.core.errors import ConfigError
from tasks.io import storage


def locate(uri: str) -> str:
    """Return the URI with its scheme; a local path becomes absolute.

    Raises:
        ConfigError: If a deployment was given a relative path, which would mean the worker's temporary folder, or the
            URI holds credentials.
    """
    require_no_credentials(uri)
    if deployment.id and storage.is_relative(uri):
        raise ConfigError(
            f"{uri!r} is a relative path; a deployment needs an absolute one, or a URI like gs://bucket/prefix."
        )
    return storage.absolute(uri)


def require_apart(scans: str, output: str) -> None:
    """Refuse an output below the scans: the next run would take its masks for scans.

    Raises:
        ConfigError: If the output is the scans' own place, or lies below it.
    """
    if f"{output.rstrip('/')}/".startswith(f"{scans.rstrip('/')}/"):
        raise ConfigError(
            f"The output {shown_uri(output)} lies below the scans {shown_uri(scans)}: its masks would be "
            "taken for scans. Choose an output beside them."
        )
