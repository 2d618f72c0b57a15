import re

import pytest

from tasks.core.intervals import summary_of
from tasks.core.metrics import METRICS
from tasks.core.pages.metric_words import label
from tasks.core.pages.model_card import KNOWN_FAILURES, LIMITS, model_card_markdown
from tasks.core.schemas import ModelCard
from tests.core.samples import MEMBER, MODEL, QUALITY, SOURCE_STATISTICS

SECTIONS = (
    *("Intended use", "Limits", "Data", "Training", "Operating point"),
    *("Validation", "Expected quality", "Known failures", "Versions"),
)
CURVE = ({"threshold": 0.4, "dice": 0.7, "precision": 0.8, "recall": None, "false_lesions": 1.25},)
MEANS = {name: summary_of([0.5, 0.6, 0.7, 0.5, 0.7, None]) for name in METRICS}
WHOLE = MODEL.model_copy(
    update={
        "sources": (SOURCE_STATISTICS,),
        "n_slices_by_split": {"train": 60, "val": 20, "test": 10},
        "operating_point": "min_recall",
        "operating_curve": CURVE,
        "validation_mean": MEANS,
        "quality": (QUALITY,),
        "warnings": ("the *operating* point",),
    }
)


def _sections(card: ModelCard) -> dict[str, str]:
    """Return the text of each section by its heading."""
    parts = re.split(r"^## (.+)$", model_card_markdown(card), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_model_card_has_every_section_in_order() -> None:
    """From what the model is for to the versions it was made with, whatever the bundle holds."""
    for card in (WHOLE, MODEL):
        assert tuple(_sections(card)) == SECTIONS
        assert model_card_markdown(card).startswith("# Model card\n")


def test_a_model_card_shows_data_operating_point_and_intervals() -> None:
    """Each source is a row, the rule is named with what it chose, and every metric has its mean with both intervals."""
    found = _sections(WHOLE)
    assert "| patient | 3 | 4 | 90 | 40 | 1.00 (0.10 to 5.00) | 512 | – | – | – |" in found["Data"]
    assert "train 60, val 20, test 10" in found["Data"]
    assert "- Rule: `min_recall`." in found["Operating point"]
    assert "Threshold 0.400: best mean Dice of 5 validation patients." in found["Operating point"]
    assert "Predicted lesions below 3 px" in found["Operating point"]
    assert "| 0.400 | 0.700 | 0.800 | – | 1.2 |" in found["Operating point"]
    for name in METRICS:
        assert re.search(
            rf"^\| {label(name)} \| 5 \| 0\.600 \| 0\.\d+ to 0\.\d+ \| 0\.476 to 0\.724 \|", found["Validation"], re.M
        )
    assert "Means over 6 validation patients" in found["Validation"]
    assert "200 slices of 5 patients" in found["Expected quality"]


def test_a_model_card_says_what_the_model_fails_at() -> None:
    """Limits and known failures, then the warnings of this bundle; without any, that there are none."""
    found = _sections(WHOLE)
    assert all(sentence in found["Limits"] for sentence in LIMITS)
    assert all(sentence in found["Known failures"] for sentence in KNOWN_FAILURES)
    assert r"**the \*operating\* point**" in found["Known failures"]
    assert "no warnings of its own" in _sections(MODEL)["Known failures"]


def test_a_model_card_of_an_earlier_bundle_says_what_it_lacks() -> None:
    """No sources, means or calibration: a sentence each, and the figures of the kept epoch."""
    found = _sections(MODEL)
    assert "Its sources are not recorded" in found["Data"]
    assert "| `val_f1` | 0.800 |" in found["Validation"]
    assert "| `val_precision` | – |" in found["Validation"]
    assert "Not calibrated" in found["Expected quality"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parent_digest": "e" * 64}, "those of the bundle `eeeeeeeeeeee`"),
        ({"min_lesion_px": 0}, "Lesions of all sizes are kept."),
        ({"test_time_flips": True}, "Test-time flips: yes"),
        ({"members": (MEMBER, MEMBER)}, "2 networks averaged"),
        ({"files": {}}, "| model | – |"),
    ],
)
def test_a_model_card_follows_its_bundle(changes: dict[str, object], said: str) -> None:
    """Fine-tuned, averaged, with flips, or damaged: the card has what the record has, and no patient of a fold."""
    page = model_card_markdown(MODEL.model_copy(update=changes))
    assert said in page
    assert MEMBER.held_out[0] not in page


def test_weights_from_an_address_are_not_named() -> None:
    """The address of a file of weights may hold what nobody but its owner should read."""
    model = MODEL.model.model_copy(update={"encoder_weights": "https://example.org/w.h5?token=abc"})
    page = model_card_markdown(MODEL.model_copy(update={"model": model}))
    assert "token" not in page
    assert "Initial weights of the encoder: a file of weights." in page


def test_a_name_in_a_model_card_stays_text() -> None:
    """A source called like a tag, a picture or the end of a cell changes nothing around it."""
    name = "![x](http://127.0.0.1:9/a) <b> | y"
    page = model_card_markdown(
        WHOLE.model_copy(update={"sources": (SOURCE_STATISTICS.model_copy(update={"source": name}),)})
    )
    assert "![" not in page
    assert "<b>" not in page
    [row] = [line for line in page.splitlines() if "127.0.0.1" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 11
