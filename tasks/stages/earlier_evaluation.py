"""Earlier evaluation that a new one is compared with: read, and checked to be of the same patients."""

from collections.abc import Iterable

from tasks.core.catalog import SPLITS, Split
from tasks.core.paired_comparison import require_same_patients
from tasks.core.rows import CaseRow
from tasks.core.schemas import EvaluationReport
from tasks.core.step_inputs import EvaluateRequest
from tasks.io.outputs import evaluations


def splits_of(request: EvaluateRequest) -> tuple[Split, ...]:
    """Return the splits whose patients are scored."""
    return SPLITS if request.split == "all" else (request.split,)


def read_comparable(request: EvaluateRequest, cases: Iterable[CaseRow]) -> EvaluationReport | None:
    """Return the earlier evaluation that a request names; None if it names none.

    Args:
        request: Input of the evaluation.
        cases: Cases of the dataset, of any split.

    Raises:
        ConfigError: If it is damaged, or of other patients than the splits that are scored.
    """
    if not request.compare_with:
        return None
    earlier = evaluations.read_earlier(request.compare_with)
    scored = {case.patient_id for case in cases if case.split in splits_of(request)}
    require_same_patients(scored, [str(row["patient_id"]) for row in earlier.per_patient])
    return earlier
