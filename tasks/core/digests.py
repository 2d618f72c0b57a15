"""Digest of named parts: what two things must agree in to be the same."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Part: TypeAlias = "str | int | float | bool | Sequence[Part] | Mapping[str, Part] | None"
"""What JSON can hold."""


def digest(**parts: Part) -> str:
    """Return the sha256 over named parts as canonical JSON, which no value can make look like another part.

    Args:
        parts: By name, in any order; equal where they are equal as JSON, in which 1 and 1.0 differ.

    Raises:
        ValueError: If a number is not finite.
    """
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
