"""Counts with their nouns in English."""


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun, in the plural (with an s unless it is given) if the count is not 1."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {plural or f'{noun}s'}"
