import re

import pytest

from tasks.core.history import CURVES
from tasks.core.metrics import METRICS
from tasks.core.numbers import TOO_FEW
from tasks.core.pages.evaluation import PatientPanel, evaluation_markdown, evaluation_report
from tasks.core.pages.metric_words import label
from tasks.core.schemas import EMPTY_MASK_CONVENTION, INFLATION, LEAKY, EvaluationReport
from tests.core.pages.html_pages import Page
from tests.core.samples import COMPARISON, DATASET, EVALUATION, FAILURE, MEAN_DICE, MODEL

FIGURES = {name: name.encode() for name in (*CURVES, "precision_recall")}
PANELS = [
    PatientPanel("best", "patient_b", 0.8, b"panel of b"),
    PatientPanel("worst", "patient_a", None, b"panel of a"),
]


def _evaluation_page(report: EvaluationReport = EVALUATION) -> Page:
    return Page(evaluation_report(report, MODEL, DATASET, figures=FIGURES, panels=PANELS))


def _evaluation(**changes: object) -> EvaluationReport:
    return EVALUATION.model_copy(update=changes)


def test_evaluation_page_needs_nothing_but_itself() -> None:
    """Every picture is inside: curves in their declared order, then the page can be mailed."""
    page = _evaluation_page()
    assert page.fetched == []
    shown = [picture.decode() for picture in page.pictures]
    assert shown == ["panel of b", "panel of a", "precision_recall", *CURVES]


@pytest.mark.parametrize("metric", METRICS)
def test_evaluation_page_shows_every_metric(metric: str) -> None:
    """Each entry of the registry is a column, with the pooled value in its place."""
    page = _evaluation_page()
    header = page.rows[0]
    column = header.index(label(metric))
    pooled = next(row for row in page.rows if row[0] == "all")
    assert pooled[column] == f"{EVALUATION.pooled[metric]:.3f}"
    assert len(pooled) == len(header)


def test_evaluation_page_shows_counts_beside_ratios_and_the_undefined_as_such() -> None:
    """By patient, in order of their ids; a healthy patient left alone has no Dice."""
    page = _evaluation_page()
    rows = [row for row in page.rows if row[0].startswith("patient_")]
    assert [row[0] for row in rows] == ["patient_a", "patient_b"]
    assert rows[0][3:7] == ["–"] * 4
    assert rows[0][-4:] == ["0", "0", "0", "50"]
    assert rows[1][2] == "1,000"
    assert rows[1][3] == "0.800"
    assert "1 of 2 patients has an undefined Dice" in page.words
    assert EMPTY_MASK_CONVENTION in page.words


def test_a_leaky_evaluation_says_how_much_it_flatters() -> None:
    """Beside the warning; an evaluation by patient does not."""
    assert INFLATION in _evaluation_page(_evaluation(warnings=(LEAKY,))).words
    assert INFLATION not in _evaluation_page().words


def test_evaluation_page_shows_an_interval_only_where_there_is_one() -> None:
    """Few patients give none, and it is said so; more give both ends."""
    without = _evaluation_page().words
    interval = {**EVALUATION.per_patient_mean, "dice_ci95": (0.7, 0.9), "n_defined": 5}
    with_one = _evaluation_page(_evaluation(per_patient_mean=interval)).words
    assert TOO_FEW in without
    assert "0.700 to 0.900" in with_one
    assert "(95 % interval by bootstrap over patients: 0.700 to 0.900)" in with_one


def test_evaluation_page_shows_the_figures_there_are() -> None:
    """A bundle without curves and a split without lesions still have a page."""
    page = Page(
        evaluation_report(EVALUATION, MODEL, DATASET, figures={"precision_recall": b"pr", "f1": b"f1"}, panels=[])
    )
    assert page.pictures == [b"pr", b"f1"]
    assert "No slice of this split shows a lesion or a prediction." in page.words


def test_evaluation_page_says_whose_panels_it_shows() -> None:
    """Each picture has the patient's rank, id and Dice below it."""
    words = _evaluation_page().words
    assert "Best: patient_b, Dice 0.800." in words
    assert "Worst: patient_a, Dice undefined." in words


def test_evaluation_page_names_what_could_not_be_scored_and_what_is_odd() -> None:
    """Failures and warnings are on the page; without any, their headings are not."""
    troubled = _evaluation(n_failed=1, failures=[FAILURE], warnings=("leaky split",))
    page = _evaluation_page(troubled)
    assert "1 slice could not be scored" in page.words
    assert ["unreadable", "Image is truncated.", FAILURE.uri] in page.rows
    assert "leaky split" in page.words
    assert "Not scored" not in _evaluation_page().words


def test_large_numbers_are_grouped() -> None:
    """Thousands are set apart by a comma."""
    assert "1,500 slices" in _evaluation_page().words


def test_evaluation_markdown_leads_with_the_mean_over_patients() -> None:
    """Mean, pooled figure, every metric as a row, the convention, and what was scored."""
    text = evaluation_markdown(EVALUATION)
    assert text.startswith(f"# Evaluation on test\nMean Dice of 2 patients: **0.800** ({TOO_FEW}).\n")
    assert "Pooled over 1,500 slices: 0.800." in text
    for name in METRICS:
        assert f"| {label(name)} | {EVALUATION.pooled[name]:.3f} |" in text
    assert EMPTY_MASK_CONVENTION in text
    assert "`file:///model` scored with threshold 0.400" in text


def test_evaluation_markdown_shows_interval_warnings_and_the_undefined() -> None:
    """An interval where there is one, warnings in bold, and no number where there is none."""
    mean = {"dice": None, "dice_ci95": None, "n_defined": 0, "n_undefined": 2}
    odd = _evaluation(warnings=("leaky split",), per_patient_mean=mean, pooled=dict.fromkeys(METRICS))
    text = evaluation_markdown(odd)
    assert "**leaky split**" in text
    assert f"Mean Dice of 2 patients: **undefined** ({TOO_FEW})." in text
    assert "| recall | – |" in text
    interval = {"dice": 0.8, "dice_ci95": (0.71234, 0.9), "n_defined": 5}
    assert "(95 % interval 0.712 to 0.900)" in evaluation_markdown(_evaluation(per_patient_mean=interval))


def test_each_source_has_its_own_mean_over_patients() -> None:
    """Page and short form show them apart with their intervals; the short form only where there are several."""
    (clinic,) = EVALUATION.per_source.values()
    other = clinic | {"per_patient_mean": MEAN_DICE | {"dice": 0.456, "dice_ci95": (0.4, 0.5), "n_defined": 5}}
    both = _evaluation(per_source={"archive": other, "clinic": clinic})
    rows = {row[0]: row for row in _evaluation_page(both).rows}
    assert rows["archive"][1:4] == ["2", "0.456", "0.400 to 0.500"]
    assert rows["clinic"][1:4] == ["2", "0.800", "–"]
    text = evaluation_markdown(both)
    assert "- archive, 2 patients: **0.456** (95 % interval 0.400 to 0.500)\n" in text
    assert f"- clinic, 2 patients: **0.800** ({TOO_FEW})\n" in text
    assert "clinic" not in evaluation_markdown(EVALUATION)


def test_the_short_form_of_a_cross_validation_says_who_scored_whom() -> None:
    """A threshold that nobody held out was scored with is not given as the one that was used."""
    text = evaluation_markdown(_evaluation(split="all", n_held_out=2))
    assert "# Evaluation on all patients\n" in text
    assert "2 patients scored by the network not trained on them" in text
    assert "scored with threshold" not in text


def test_the_page_of_a_cross_validation_says_how_each_patient_was_scored() -> None:
    """Beside each patient stand the threshold and whether mirror images were predicted too."""
    how = ({"threshold": 0.3, "test_time_flips": True}, {"threshold": 0.61, "test_time_flips": False})
    patients = [patient | own for patient, own in zip(EVALUATION.per_patient, how, strict=True)]
    page = _evaluation_page(_evaluation(split="all", n_held_out=2, per_patient=patients))
    rows = {row[0]: row for row in page.rows}
    assert rows["patient_b"][1:4] == ["clinic", "0.300", "yes"]
    assert rows["patient_a"][1:4] == ["clinic", "0.610", "no"]


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ({}, "unet / resnet34, at 256 px"),
        ({"test_time_flips": True}, "unet / resnet34, with test-time flips, at 256 px"),
        (
            {"slice_statistics": 0.29},
            "unet / resnet34, with 29 % per-slice statistics, at 256 px",
        ),
        (
            {"test_time_flips": True, "slice_statistics": 0.005},
            "unet / resnet34, with test-time flips, with 0.5 % per-slice statistics, at 256 px",
        ),
    ],
    ids=["plain", "flips", "statistics", "both"],
)
def test_evaluation_page_says_how_the_bundle_predicts(way: dict[str, object], said: str) -> None:
    """What makes the same weights see otherwise stands beside their digest."""
    page = evaluation_report(EVALUATION, MODEL.model_copy(update=way), DATASET, figures=FIGURES, panels=PANELS)
    assert said in page


COMPARED = EVALUATION.model_copy(update={"comparison": COMPARISON})


def test_a_comparison_is_told_first_and_by_patient() -> None:
    """The sentence, the earlier model, and a row per patient; without one there is no section."""
    page = _evaluation_page(COMPARED)
    assert COMPARISON.sentence() in page.words
    assert ["patient_b", "clinic", "0.800", "0.850", "\u22120.050", "yes"] in page.rows
    assert "eeeeeeeeeeee" in page.words
    assert "Comparison with an earlier evaluation" not in _evaluation_page().words
    assert "Against `file:///earlier`: Mean difference of Dice" in evaluation_markdown(COMPARED)


def test_every_column_is_explained_and_sorts() -> None:
    """Each head of a table that sorts is a button with its meaning, which the legend below repeats."""
    html = evaluation_report(COMPARED, MODEL, DATASET, figures=FIGURES, panels=PANELS)
    heads = re.findall(
        r'<th scope="col"[^>]*aria-sort="none"><button type="button" title="([^"]+)">([^<]+)</button>', html
    )
    assert len(heads) == html.count('aria-sort="none"') > 30
    for meaning, name in heads:
        assert f"<dt>{name}</dt><dd>{meaning}</dd>" in html


def test_a_page_is_laid_out_for_readers_of_any_kind() -> None:
    """One h1, heads with scope, captions, and words beside every picture."""
    html = evaluation_report(COMPARED, MODEL, DATASET, figures=FIGURES, panels=PANELS)
    assert html.count("<h1") == 1
    assert html.count("<caption>") == html.count("<table")
    assert not re.search(r"<th(?! scope=)[ >]", html)
    alternatives = re.findall(r"<img ([^>]+)>", html)
    assert len(alternatives) == len(FIGURES) + len(PANELS)
    assert all(re.search(r'alt="[^"]{10,}"', attributes) for attributes in alternatives)
    assert 'lang="en"' in html


def test_pictures_are_grouped_by_rank_where_there_are_several() -> None:
    """A heading per rank; with one picture each there is none, and the caption has the rank."""
    several = [*PANELS, PatientPanel("worst", "patient_c", 0.1, b"panel of c", slice_index=7)]
    html = evaluation_report(EVALUATION, MODEL, DATASET, figures=FIGURES, panels=several)
    assert re.findall(r"<h3>(\w+)</h3>", html) == ["Best", "Worst"]
    assert "<b>patient_c, Dice 0.100.</b> Slice 7." in html
    assert "<h3>" not in evaluation_report(EVALUATION, MODEL, DATASET, figures=FIGURES, panels=PANELS)
    for name, colour in (("true positive", "#f0e442"), ("false positive", "#d55e00"), ("false negative", "#56b4e9")):
        assert re.search(rf'background: {colour}"></i>{name}', html)


def test_page_names_data_model_and_versions() -> None:
    """Dataset with fingerprint, split and sources; model, code and libraries."""
    page = _evaluation_page(_evaluation(versions={"numpy": "2.4"}))
    assert ["patient", "3", "90", "40", "1.00 (0.10 to 5.00)", "512", "–", "–", "–"] in page.rows
    for shown in (
        EVALUATION.dataset_fingerprint,
        EVALUATION.model_digest,
        EVALUATION.model_uri,
        "numpy 2.4",
        "train 60",
    ):
        assert shown in page.words


def test_names_in_the_page_stay_text() -> None:
    """A patient or a source called like a tag is shown, not run."""
    name = "<script>alert(1)</script>"
    row = EVALUATION.per_patient[0] | {"patient_id": name, "source": name}
    html = evaluation_report(
        _evaluation(per_patient=[row], per_source={name: EVALUATION.per_source["clinic"]}),
        *(MODEL, DATASET),
        figures=FIGURES,
        panels=[PatientPanel("best", name, 0.5, b"png")],
    )
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert(1)") >= 4
