import pytest

from tasks.core.errors import ConfigError
from tasks.core.paired_comparison import require_same_patients


def test_other_patients_are_refused_by_number() -> None:
    """A patient on one side only ends it; ids may be file names, so the sentence has none; the same patients pass."""
    require_same_patients({"a", "b"}, ["b", "a"])
    with pytest.raises(ConfigError, match=r"1 only here, 0 only there.*Name an evaluation of the same dataset"):
        require_same_patients({"a", "b", "c"}, ["a", "b"])
    with pytest.raises(ConfigError, match=r"0 only here, 7 only there"):
        require_same_patients(["a"], ["a", *(f"p{number}" for number in range(7))])
