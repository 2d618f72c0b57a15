"""File systems by URI: absolute addresses and clients of stores. The only importer of fsspec."""

import os
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

from tasks.core.addresses import CONTAINER_STORES, LOCAL, OBJECT_STORES, scrubbed, shown_uri
from tasks.core.errors import ConfigError

REQUEST_TIMEOUT_S, CONNECT_TIMEOUT_S = 60, 10

_GCS_OPTIONS: dict[str, Any] = {"requests_timeout": REQUEST_TIMEOUT_S, "consistency": "md5"}
_S3_OPTIONS: dict[str, Any] = {
    "config_kwargs": {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": REQUEST_TIMEOUT_S}
}
CLIENT_OPTIONS: dict[str, dict[str, Any]] = {  # Any: keywords of each file system
    "gs": _GCS_OPTIONS,
    "gcs": _GCS_OPTIONS,
    "s3": _S3_OPTIONS,
    "s3a": _S3_OPTIONS,
}
"""Time-outs and checks by protocol; credentials come from the environment or the machine's identity."""

SCHEMES = LOCAL | OBJECT_STORES | CONTAINER_STORES | {"az", "http", "https"}
"""Protocols of stores whose objects are read by their address alone."""


def absolute(uri: str) -> str:
    """Return the URI with its scheme; a local path becomes absolute (`file:///…`).

    Raises:
        ConfigError: If the protocol is unknown or its package is not installed.
    """
    kind = _kind_of(uri)
    path = str(kind._strip_protocol(uri))
    return _with_scheme(kind, os.path.normpath(path) if issubclass(kind, LocalFileSystem) else path)


def resolved(uri: str) -> str:
    """Return a canonical URI, with local links followed, by which addresses can be compared."""
    kind = _kind_of(uri)
    path = str(kind._strip_protocol(uri))
    return _with_scheme(kind, os.path.realpath(path) if issubclass(kind, LocalFileSystem) else path)


def is_relative(uri: str) -> bool:
    """Return whether the URI is a local path that depends on the working folder."""
    protocol, path = split_protocol(uri)
    return protocol in (None, "file", "local") and not Path(path).is_absolute()


def open_file_system(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of a URI and the path in it.

    Not through `fsspec.core.url_to_fs`, which takes `::` in a name for a chain of file systems. fsspec caches
    instances by process, so that a forked or spawned worker makes its own (gcsfs#379).

    Raises:
        ConfigError: If the protocol is unknown, its package or credentials are missing, or the store does not answer.
    """
    protocol, kind = _protocol_of(uri), _kind_of(uri)
    try:
        options = CLIENT_OPTIONS.get(protocol, {}) | kind._get_kwargs_from_urls(uri)
        fs = fsspec.filesystem(protocol, use_listings_cache=False, **options)
    except Exception as err:  # some connect at once, or need more than an address
        raise ConfigError(f"Cannot open {shown_uri(uri)}: {scrubbed(str(err), uri)}") from err
    return fs, str(kind._strip_protocol(uri))


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Return whether a file system is the disk of this machine."""
    return isinstance(fs, LocalFileSystem)


def _with_scheme(kind: type[fsspec.AbstractFileSystem], path: str) -> str:
    """Return the URI of a path; `unstrip_protocol` would need a client, which may wait for credentials."""
    schemes = (kind.protocol,) if isinstance(kind.protocol, str) else kind.protocol
    return path if path.startswith(tuple(f"{scheme}://" for scheme in schemes)) else f"{schemes[0]}://{path}"


def _protocol_of(uri: str) -> str:
    return split_protocol(uri)[0] or "file"


def _kind_of(uri: str) -> type[fsspec.AbstractFileSystem]:
    protocol = _protocol_of(uri)
    if protocol not in SCHEMES:
        raise ConfigError(
            f"Cannot open {shown_uri(uri)}: {protocol}:// is not read; local paths, gs://, s3://, abfs:// and https:// "
            "are."
        )
    try:
        kind: type[fsspec.AbstractFileSystem] = fsspec.get_filesystem_class(protocol)
    except Exception as err:  # the package of one may need what is not installed
        raise ConfigError(f"Cannot open {shown_uri(uri)}: {scrubbed(str(err), uri)}") from err
    return kind
