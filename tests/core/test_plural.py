import pytest

from tasks.core.plural import counted


@pytest.mark.parametrize(("n", "said"), [(0, "0 scans"), (1, "1 scan"), (2, "2 scans"), (6000, "6,000 scans")])
def test_a_count_has_its_noun_in_the_right_number(n: int, said: str) -> None:
    """One is singular, all else plural, thousands are set apart."""
    assert counted(n, "scan") == said
