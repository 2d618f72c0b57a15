import re

from tasks.core.pages.dataset_card import dataset_card_markdown
from tasks.core.rows import CaseRow, CorrectionSource
from tests.core.samples import AUDIT, CASE, DATASET, FAILURE


def _case(case_id: str, patient_id: str, **changes: object) -> CaseRow:
    return CASE.model_copy(update={"case_id": case_id, "patient_id": patient_id} | changes)


CASES = [
    _case("a1", "jane", source="a", n_slices=10),
    _case("a2", "jane", source="a", n_slices=1200),
    _case("a3", "joe", source="a", split="test", n_slices=3),
    _case("b1", "ann", source="b", split="val", n_slices=7),
]


def test_a_dataset_card_counts_patients_and_slices_by_source_and_split() -> None:
    """Patients once each, whatever the number of their cases; the last row is the sum of the sources."""
    page = dataset_card_markdown(DATASET, CASES, [])
    assert "| a | 1 / 1,210 | 0 / 0 | 1 / 3 |" in page
    assert "| b | 0 / 0 | 1 / 7 | 0 / 0 |" in page
    assert "| all | 1 / 1,210 | 1 / 7 | 1 / 3 |" in page
    assert "| all |" not in dataset_card_markdown(DATASET, CASES[:3], [])


def test_a_dataset_card_shows_sources_audit_warnings_and_what_was_rejected() -> None:
    """Statistics of each source, the audit, each warning, and the number of rejected inputs by code."""
    page = dataset_card_markdown(DATASET.model_copy(update={"leakage": AUDIT}), CASES, [FAILURE, FAILURE])
    assert "| patient | 3 | 4 | 90 | 40 | 1.00 (0.10 to 5.00) | 512 | – | – | – |" in page
    assert "1 pair nearly the same, 1 across splits" in page
    assert "- **one case has no lesion**" in page
    assert "| `unreadable` | 2 |" in page


def test_a_dataset_card_of_an_earlier_dataset_says_what_it_lacks() -> None:
    """Without audit, sources, warnings or failures there is a sentence, or no section."""
    page = dataset_card_markdown(DATASET.model_copy(update={"sources": (), "warnings": ()}), CASES, [])
    assert "Not audited." in page
    assert "## Sources" not in page
    assert re.search(r"## Warnings\n\nNone\.\n", page)
    assert page.endswith("## Rejected\n\nNothing.\n")


def test_a_dataset_card_names_no_patient_file_or_credential() -> None:
    """Patients' ids and rejected files' names stay in the tables; an address is shown without its secrets."""
    card = DATASET.model_copy(update={"source_uri": "https://user:secret@example.org/in?token=abc"})
    page = dataset_card_markdown(card, CASES, [FAILURE])
    for hidden in ("jane", "joe", "ann ", "secret", "abc"):
        assert hidden not in page
    assert "example.org/in" in page


def test_corrections_are_named_in_the_card() -> None:
    """A reader sees whose corrections the dataset holds."""
    source = CorrectionSource(uri="gs://bucket/night", n_scans=2, digest="d")
    page = dataset_card_markdown(DATASET.model_copy(update={"corrections": (source,)}), CASES, [])
    assert "With corrections of 2 scans of the reviewed segmentation `gs://bucket/night`." in page
    assert "corrections of" not in dataset_card_markdown(DATASET.model_copy(update={"corrections": ()}), CASES, [])
