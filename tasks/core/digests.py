"""Digest of named values: two things with the same digest count as the same."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Part: TypeAlias = "str | int | float | bool | Sequence[Part] | Mapping[str, Part] | None"
"""Any JSON value."""


def digest(**parts: Part) -> str:
    """Return the SHA-256 of named values as canonical JSON, in which no value can pass for another one.

    Args:
        parts: Values by name, in any order; 1 and 1.0 differ, as in JSON.

    Raises:
        ValueError: If a number is not finite.
    """
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
