"""How counts are said."""


def counted(n: int, noun: str) -> str:
    """Return a count with its noun, in the plural where it is not one; the noun takes an s."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
