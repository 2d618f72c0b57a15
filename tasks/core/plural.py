"""Counts with their nouns in English."""

from tasks.core.numbers import count


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun, in the plural (with an s unless it is given) if the count is not 1."""
    return f"{count(n)} {noun}" if n == 1 else f"{count(n)} {plural or f'{noun}s'}"
