"""Digest of named parts: what two things must agree in to be the same."""

import hashlib
import json

from pydantic import JsonValue


def digest(**parts: JsonValue) -> str:
    """Return the sha256 over named parts as canonical JSON, which no value can make look like another part.

    Args:
        parts: By name, in any order; equal where they are equal as JSON, in which 1 and 1.0 differ.

    Raises:
        ValueError: If a number is not finite.
    """
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
