"""Token of Ray on this machine, for this user alone."""

import os
import secrets
from pathlib import Path
from typing import Final

from tasks.core.errors import ClusterError

_PRIVATE: Final = 0o600
_N_BYTES: Final = 32
"""As many as Ray's own tokens have (ray 2.60: `ray/_private/authentication/authentication_token_generator.py`)."""


def make_token_private() -> None:
    """Make the token that Ray on this machine asks for, if there is none, and let no other user read it.

    Ray 2.60 makes it itself, readable by everybody (`ray/_private/authentication/authentication_token_setup.py`). Who
    can read it can run code here as this user.

    Raises:
        ClusterError: If it cannot be written.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        _make_private()
    except OSError as err:
        raise ClusterError(
            f"Cannot write Ray's token to {err.filename}: {err.strerror}. Set HOME to a folder that can be written, or "
            "RAY_AUTH_TOKEN."
        ) from err


def _make_private() -> None:
    path = Path.home() / ".ray" / "auth_token"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w") as file:
            file.write(secrets.token_hex(_N_BYTES))
    except FileExistsError:
        if path.stat().st_mode & ~_PRIVATE & 0o777:
            path.chmod(_PRIVATE)
