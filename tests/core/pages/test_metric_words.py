import pytest

from tasks.core.metrics import METRICS, dice
from tasks.core.pages.metric_words import MEANINGS, label, meaning
from tasks.core.patient_metrics import PATIENT_METRICS


@pytest.mark.parametrize("name", [*METRICS, *PATIENT_METRICS, *MEANINGS])
def test_every_metric_has_a_name_and_a_meaning(name: str) -> None:
    """A sentence that says more than the name does."""
    assert "_" not in label(name)
    assert meaning(name).endswith(".")
    assert len(meaning(name)) > len(label(name)) + 10


def test_a_metric_without_words_of_its_own_is_explained_by_its_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a new metric needs no line there."""
    monkeypatch.setitem(METRICS, "overlap_of_two", dice)
    assert meaning("overlap_of_two") == "Dice: 2 tp / (2 tp + fp + fn), equal to F1; undefined if both masks are empty."
    assert label("overlap_of_two") == "overlap of two"
