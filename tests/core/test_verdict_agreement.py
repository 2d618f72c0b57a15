from datetime import UTC, datetime

from tasks.core.rows import CorrectionRow, VerdictRow
from tasks.core.verdict_agreement import agreement_by_week, agreement_csv, agreement_markdown
from tests.core.samples import CORRECTION, VERDICT

SUNDAY, MONDAY = datetime(2026, 3, 8, 23, tzinfo=UTC), datetime(2026, 3, 9, 0, tzinfo=UTC)

HEAD = (
    "week,n_verdicts,n_accepted,n_corrected,n_rejected,share_accepted,share_corrected,share_rejected,"
    "n_corrections,n_dice,dice_mean,dice_median"
)


def _verdict(verdict: str, at: datetime) -> VerdictRow:
    return VERDICT.model_copy(update={"verdict": verdict, "decided_at": at})


def _correction(dice: float | None, at: datetime, **changes: object) -> CorrectionRow:
    return CORRECTION.model_copy(update={"dice_with_prediction": dice, "taken_at": at} | changes)


def test_agreement_is_counted_by_week() -> None:
    """Weeks begin on Monday; shares are of the week's verdicts, Dice is of the week's corrections; all come last."""
    verdicts = [
        *(_verdict(name, SUNDAY) for name in ("accept", "accept", "correct", "reject")),
        _verdict("accept", MONDAY),
    ]
    corrections = [_correction(0.5, SUNDAY), _correction(0.9, SUNDAY), _correction(None, SUNDAY)]
    lines = agreement_csv(agreement_by_week(verdicts, corrections)).splitlines()
    assert lines == [
        HEAD,
        "2026-03-02,4,2,1,1,0.500,0.250,0.250,3,2,0.700,0.700",
        "2026-03-09,1,1,0,0,1.000,0.000,0.000,0,0,,",
        "all,5,3,1,1,0.600,0.200,0.200,3,2,0.700,0.700",
    ]


def test_what_was_refused_does_not_count() -> None:
    """Neither a refused verdict nor a refused correction is agreement; without any there is no line."""
    refused = {"status": "refused"}
    weeks = agreement_by_week([VERDICT.model_copy(update=refused)], [_correction(0.5, SUNDAY, **refused)])
    assert weeks == []
    assert len(agreement_csv(weeks).splitlines()) == 1
    assert "no correction" in agreement_markdown(weeks)


def test_share_without_verdicts_is_undefined() -> None:
    """A week with corrections alone has no shares."""
    [week, _] = agreement_by_week([], [_correction(0.5, SUNDAY)])
    assert week.share(0) is None
    assert "| 2026-03-02 | 0 | 0 | 0 | 1 | 0.500 |" in agreement_markdown([week])
