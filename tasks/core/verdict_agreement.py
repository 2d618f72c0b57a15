"""Agreement of readers with masks, by week: verdicts by kind, and the Dice of corrections with predictions."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import mean, median
from typing import Final

from tasks.core.rows import CorrectionRow, Verdict, VerdictRow

ALL: Final = "all"
"""Name of the line over all weeks."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Verdicts and corrections of a week.

    Attributes:
        week: Its Monday, ISO 8601, by UTC; `all` for all weeks together.
        n_accepted: Verdicts `accept`.
        n_corrected: Verdicts `correct`.
        n_rejected: Verdicts `reject`.
        dice: Dice of each accepted correction with the prediction; those of two empty masks are left out.
        n_corrections: Corrections that were accepted.
    """

    week: str
    n_accepted: int
    n_corrected: int
    n_rejected: int
    dice: tuple[float, ...]
    n_corrections: int

    @property
    def n_verdicts(self) -> int:
        """Verdicts of any kind."""
        return self.n_accepted + self.n_corrected + self.n_rejected

    def share(self, n: int) -> float | None:
        """Return a number of verdicts divided by all of the week; None without any."""
        return n / self.n_verdicts if self.n_verdicts else None


def agreement_by_week(verdicts: Iterable[VerdictRow], corrections: Iterable[CorrectionRow]) -> list[Agreement]:
    """Return the agreement of each week with verdicts or corrections, in order, and of all weeks last."""
    kinds: dict[str, Counter[Verdict]] = defaultdict(Counter)
    taken: dict[str, list[CorrectionRow]] = defaultdict(list)
    for row in verdicts:
        if row.status == "accepted" and row.verdict and row.decided_at:
            kinds[_week(row.decided_at)][row.verdict] += 1
    for correction in corrections:
        if correction.status == "accepted":
            taken[_week(correction.taken_at)].append(correction)
    weeks = [_agreement(week, kinds[week], taken[week]) for week in sorted({*kinds, *taken})]
    of_all = sum(kinds.values(), Counter[Verdict]())
    return [*weeks, _agreement(ALL, of_all, [row for rows in taken.values() for row in rows])] if weeks else []


def agreement_csv(weeks: Sequence[Agreement]) -> str:
    """Return the agreement as CSV; a share or Dice that is undefined is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        [
            *("week", "n_verdicts", "n_accepted", "n_corrected", "n_rejected"),
            *("share_accepted", "share_corrected", "share_rejected"),
            *("n_corrections", "n_dice", "dice_mean", "dice_median"),
        ]
    )
    for one in weeks:
        counts = one.n_accepted, one.n_corrected, one.n_rejected
        dice = (mean(one.dice), median(one.dice)) if one.dice else (None, None)
        writer.writerow(
            [
                *(one.week, one.n_verdicts, *counts),
                *map(_cell, map(one.share, counts)),
                *(one.n_corrections, len(one.dice), *map(_cell, dice)),
            ]
        )
    return buffer.getvalue()


def agreement_markdown(weeks: Sequence[Agreement]) -> str:
    """Return the agreement as Markdown, for Prefect."""
    if not weeks:
        return "# Agreement\n\nNo verdict and no correction was taken in yet."
    lines = [
        f"| {one.week} | {one.n_accepted} | {one.n_corrected} | {one.n_rejected} | {one.n_corrections} | "
        f"{_cell(mean(one.dice)) if one.dice else '–'} |"
        for one in weeks
    ]
    head = "| week from | accepted | corrected | rejected | corrections | mean Dice with the prediction |"
    return "\n".join(["# Agreement", "", head, "|---|---|---|---|---|---|", *lines])


def _agreement(week: str, kinds: Counter[Verdict], taken: Sequence[CorrectionRow]) -> Agreement:
    dice = tuple(row.dice_with_prediction for row in taken if row.dice_with_prediction is not None)
    return Agreement(week, kinds["accept"], kinds["correct"], kinds["reject"], dice, len(taken))


def _week(time: datetime) -> str:
    day = time.date()
    return (day - timedelta(days=day.weekday())).isoformat()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
