"""Counts with their nouns in English."""


def counted(n: int, noun: str) -> str:
    """Return a count with its noun, in the plural (with an s) unless the count is 1."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
