"""Earlier evaluations, as comparisons read them."""

from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.io.outputs import evaluations
from tests.core.samples import EVALUATION


def test_an_earlier_evaluation_without_a_patients_counts_is_refused(tmp_path: Path) -> None:
    """Before anything is scored, with its address; whole it is read."""
    evaluations.publish(tmp_path.as_uri(), EVALUATION, page="", pictures={})
    assert evaluations.read_earlier(tmp_path.as_uri()) == EVALUATION
    damaged = [row | {"tp": None} for row in EVALUATION.per_patient]
    evaluations.publish(tmp_path.as_uri(), EVALUATION.model_copy(update={"per_patient": damaged}), page="", pictures={})
    with pytest.raises(ConfigError, match=r"metrics.json lacks counts of a patient"):
        evaluations.read_earlier(tmp_path.as_uri())
