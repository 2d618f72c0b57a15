"""Dataset card as Markdown: what a dataset holds, its splits and what was rejected; its JSON twin is dataset.json.

Source of the sections: Gebru et al., Datasheets for datasets, CACM 64(12), 2021, doi:10.1145/3458723.
"""

from collections import Counter
from collections.abc import Sequence

from tasks.core.addresses import shown_uri
from tasks.core.catalog import SPLITS
from tasks.core.numbers import count
from tasks.core.pages.markdown import as_code, escaped, facts, table
from tasks.core.pages.source_table import SPREAD_NOTE, source_table
from tasks.core.plural import counted
from tasks.core.rows import CaseRow, FailureRow
from tasks.core.schemas import DatasetCard, LeakageAudit


def dataset_card_markdown(card: DatasetCard, cases: Sequence[CaseRow], failures: Sequence[FailureRow]) -> str:
    """Return the dataset card as Markdown; it names sources and splits, but no patient and no file.

    Args:
        card: Card of the dataset.
        cases: Rows of `cases.parquet`.
        failures: Rows of `failures.parquet`.
    """
    sections = (
        _head(card),
        ["## Warnings", "", *([f"- **{escaped(text)}**" for text in card.warnings] or ["None."])],
        ["## Patients and slices by split", "", *_by_split(cases)],
        ["## Sources", "", *source_table(card.sources), "", SPREAD_NOTE] if card.sources else [],
        ["## Leakage audit", "", *leakage_sentences(card.leakage)],
        ["## Rejected", "", *_rejected(failures)],
    )
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def _head(card: DatasetCard) -> list[str]:
    how = (
        "by patient: all slices of a patient are in one split" if card.preparation.strategy == "patient" else "by slice"
    )
    return [
        "# Dataset card",
        "",
        "Generated with the dataset; the same figures for machines are in `dataset.json` and `cases.parquet`.",
        f"Prepared from {as_code(shown_uri(card.source_uri))}.",
        *(
            f"\nWith corrections of {counted(corrections.n_scans, 'scan')} of the reviewed segmentation "
            f"{as_code(corrections.uri)}."
            for corrections in card.corrections
        ),
        "",
        *facts(
            [
                ("dataset", as_code(card.fingerprint[:12])),
                (
                    "content",
                    (
                        f"{counted(card.n_slices, 'slice')}, {counted(card.n_cases, 'case')}, "
                        f"{counted(card.n_patients, 'patient')}"
                    ),
                ),
                ("slices", f"8 bit, {card.size_px} x {card.size_px} px, with a mask: 0 background, 1 lesion"),
                ("lung masks", f"{count(card.n_lung_masks)} slices" if card.n_lung_masks else "none"),
                ("split", f"{how}; seed {card.preparation.seed}"),
                ("code", as_code(card.code_version)),
            ],
        ),
    ]


def _by_split(cases: Sequence[CaseRow]) -> list[str]:
    """Return a table with a row per source and a column per split, and the sums where there are several sources."""
    sources = sorted({case.source for case in cases})
    parts = [(escaped(source), [case for case in cases if case.source == source]) for source in sources]
    rows = [(name, *(_patients_and_slices(own, split) for split in SPLITS)) for name, own in parts]
    if len(sources) > 1:
        rows.append(("all", *(_patients_and_slices(cases, split) for split in SPLITS)))
    return [*table(("source", *SPLITS), rows), "", "Patients / slices."]


def _patients_and_slices(cases: Sequence[CaseRow], split: str) -> str:
    found = [case for case in cases if case.split == split]
    return f"{count(len({case.patient_id for case in found}))} / {count(sum(case.n_slices for case in found))}"


def leakage_sentences(audit: LeakageAudit | None) -> list[str]:
    """Return what the audit for leakage found."""
    if audit is None:
        return ["Not audited."]
    return [
        (
            f"{counted(audit.n_slices, 'slice')} of {count(audit.n_all_slices)} compared with those of other patients: "
            f"{counted(audit.n_near_duplicates, 'pair')} nearly the same, {audit.n_across_splits} across splits "
            "(`duplicates.parquet`)."
        ),
        f"{counted(audit.n_patients_in_several_splits, 'patient')} in several splits.",
    ]


def _rejected(failures: Sequence[FailureRow]) -> list[str]:
    """Return the rejected inputs by code; without files, whose names may hold a patient's."""
    if not failures:
        return ["Nothing."]
    counts = Counter(str(failure.error_code) for failure in failures)
    rows = [(as_code(code), count(n)) for code, n in sorted(counts.items())]
    note = "What each code means: infra/docs/inputs-and-outputs.md. Each input: `failures.parquet`."
    return [*table(("code", "inputs"), rows), "", note]
