import csv
import io

from tasks.core.history import EpochRow, TrainingOutcome

HISTORY: list[EpochRow] = [
    {"epoch": 1, "train_f1": 0.25, "val_f1": None, "val_loss": 0.5},
    {"epoch": 2, "train_f1": 0.5, "val_f1": 0.75, "val_loss": 0.4},
    {"epoch": 3, "train_f1": 0.6, "val_f1": 0.7, "val_loss": 0.45},
]


def test_best_validation_is_that_of_the_best_epoch() -> None:
    """Epochs count from 1, and only validation figures are shown."""
    assert TrainingOutcome(HISTORY, best_epoch=2).best_validation == {"val_f1": 0.75, "val_loss": 0.4}
    assert TrainingOutcome(HISTORY, best_epoch=1).best_validation == {"val_f1": None, "val_loss": 0.5}


def test_csv_has_one_line_an_epoch_and_leaves_the_undefined_empty() -> None:
    """Exact bytes: header, then rows, Unix line ends, nothing where a ratio is undefined."""
    assert TrainingOutcome(HISTORY[:2], best_epoch=2).to_csv() == (
        b"epoch,train_f1,val_f1,val_loss\n1,0.25,,0.5\n2,0.5,0.75,0.4\n"
    )


def test_csv_is_read_back_by_column_name() -> None:
    """Numbers survive the way through the file."""
    rows = list(csv.DictReader(io.StringIO(TrainingOutcome(HISTORY, best_epoch=2).to_csv().decode())))
    assert [float(row["val_loss"]) for row in rows] == [0.5, 0.4, 0.45]


def test_outcomes_do_not_share_their_history() -> None:
    """Two trainings in one process keep apart."""
    one, other = TrainingOutcome(), TrainingOutcome()
    one.history.append(HISTORY[0])
    assert other.history == []
