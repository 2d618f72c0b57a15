"""Name nearest to a misspelt one, for the sentence about it."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean …?` with the known name nearest to a misspelt one, or nothing if none is near."""
    by_lower_case = {one.lower(): one for one in known}
    nearest = get_close_matches(name.lower(), by_lower_case, n=1)
    return f" Did you mean {by_lower_case[nearest[0]]}?" if nearest else ""
