"""What a foreign file says is repeated only where it is one of the values that are known."""

import pytest

from tasks.core.quoting import known_or_described


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("MR", "MR"),
        ("", "missing"),
        ("mr", "an unknown Modality of 2 characters"),
        ("X", "an unknown Modality of 1 character"),
        ("MUELLER^HANS", "an unknown Modality of 12 characters"),
        ("<script>alert(1)</script>", "an unknown Modality of 25 characters"),
    ],
)
def test_only_known_text_is_repeated(value: str, said: str) -> None:
    """A known value is said as it is, any other by its length."""
    assert known_or_described(value, {"CT", "MR"}, "Modality") == said
