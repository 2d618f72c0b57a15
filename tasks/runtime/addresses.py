"""Resolution of URIs, and the check that scans and output do not contain each other."""

import re
from typing import Final

from prefect.runtime import deployment

from tasks.core.addresses import shown_uri
from tasks.core.credentials import require_no_credentials
from tasks.core.errors import ConfigError
from tasks.io import file_systems, storage

_HALF_A_SCHEME: Final = re.compile(r"(gs|gcs|s3|s3a|abfss?|wasbs?|https?):/?(?!/)(.*)", re.DOTALL)
"""Address with the name of a scheme that would be taken for a path."""


def locate(uri: str) -> str:
    """Return the URI with its scheme; a local path becomes absolute.

    Raises:
        ConfigError: If a deployment was given a relative path, which would mean the worker's temporary folder, or the
            URI holds credentials or is empty.
    """
    if not uri.strip():
        raise ConfigError(
            "An address is empty; a folder or a URI like gs://bucket/prefix was expected. Is a variable not set?"
        )
    require_no_credentials(uri)
    half = _HALF_A_SCHEME.fullmatch(uri)
    if half:
        raise ConfigError(f"{uri!r} is no address. Did you mean {half[1]}://{half[2]}?")
    if deployment.id and file_systems.is_relative(uri):
        raise ConfigError(
            f"{uri!r} is a relative path; a deployment needs an absolute one, or a URI like gs://bucket/prefix."
        )
    return file_systems.absolute(uri)


def below(uri: str, name: str) -> str:
    """Return the URI of a folder inside another."""
    return storage.join(uri, name)


def require_apart(scans: str, output: str) -> None:
    """Require that neither address lies below the other: masks would be taken for scans, or replace them.

    Raises:
        ConfigError: If they are the same, or one lies below the other; links are followed.
    """
    scans_root, output_root = (f"{file_systems.resolved(uri).rstrip('/')}/" for uri in (scans, output))
    if output_root.startswith(scans_root):
        raise ConfigError(
            f"The output {shown_uri(output)} lies below the scans {shown_uri(scans)}: its masks would be "
            "taken for scans. Choose an output beside them."
        )
    if scans_root.startswith(output_root):
        raise ConfigError(
            f"The scans {shown_uri(scans)} lie below the output {shown_uri(output)}: masks could replace them. "
            "Choose an output beside them."
        )
