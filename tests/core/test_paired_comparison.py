import pytest

from tasks.core.errors import ConfigError
from tasks.core.paired_comparison import require_same_patients


def test_other_patients_are_refused_by_name() -> None:
    """A patient on one side only ends it, and the sentence names the first of them; the same patients pass."""
    require_same_patients({"a", "b"}, ["b", "a"])
    with pytest.raises(ConfigError, match=r"c only here, none only there.*Name an evaluation of the same dataset"):
        require_same_patients({"a", "b", "c"}, ["a", "b"])
    with pytest.raises(ConfigError, match=r"none only here, p0, p1, p2, p3, p4 and 2 more only there"):
        require_same_patients(["a"], ["a", *(f"p{number}" for number in range(7))])
