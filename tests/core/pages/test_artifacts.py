import re

from tasks.core.pages.artifacts import dataset_markdown, failures_markdown
from tasks.core.rows import FailureRow
from tests.core.samples import DATASET, FAILED, FAILURE


def test_failures_markdown_groups_by_code_without_naming_files() -> None:
    """Codes in order with their numbers and one sentence each; no URI, because it may hold a name."""
    empty = FailureRow(uri="file:///in/frames/jane_roe.png", error_code="empty_file", error="File holds 0 bytes.")
    text = failures_markdown("Rejected", [FAILURE, empty, FAILURE, FAILED], n_all=1000)
    assert text.startswith("# Rejected\n\n4 of 1,000 inputs rejected.\n")
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [("empty_file", "1", "File holds 0 bytes."), ("unreadable", "3", "Image is truncated.")]
    assert "doe" not in text
    assert "roe" not in text


def test_failures_markdown_without_failures_says_so() -> None:
    """Good news is a sentence, not an empty table."""
    assert failures_markdown("Rejected", [], n_all=7) == "# Rejected\n\nNothing was rejected; 7 inputs."


def test_failure_without_a_sentence_is_still_counted() -> None:
    """A scan that failed without explanation has its row."""
    assert "| unreadable | 1 |" in failures_markdown("Scans", [FAILED.model_copy(update={"error": None})], n_all=1)


def test_dataset_markdown_gives_sizes_by_split() -> None:
    """How much there is, how much was lost, what is odd, and slices on each side."""
    text = dataset_markdown(DATASET)
    assert "90 slices of 4 cases and 3 patients at 256 px." in text
    assert "2 slices rejected." in text
    assert "lung" not in text
    assert "30 slices with a lung mask." in dataset_markdown(DATASET.model_copy(update={"n_lung_masks": 30}))
    assert "**one case has no lesion**" in text
    assert "1 corrected scan of `file:///out`." in text.splitlines()
    for line in ("| train | 60 |", "| val | 20 |", "| test | 10 |"):
        assert line in text.splitlines()


def test_a_bar_or_line_break_does_not_break_the_table() -> None:
    """A sentence with a bar and a line break stays in its cell."""
    text = failures_markdown("t", [FailureRow(uri="u", error_code="unreadable", error="a | b\nc")], n_all=1)
    assert "| a \\| b c |" in text
