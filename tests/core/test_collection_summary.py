import pytest

from tasks.core.collection_summary import CollectionSummary, flag_counts, needs_review, rejected_by_code
from tasks.core.drift import CollectionDrift
from tasks.core.flags import FLAGS
from tasks.core.rows import ScanRow
from tasks.core.schemas import SegmentationManifest
from tests.core.samples import DONE, FAILED, MANIFEST


def _manifest(n_new_failures: int = 0, drift: CollectionDrift | None = None, **counts: int) -> SegmentationManifest:
    every = {"done": 0, "skipped": 0, "deferred": 0, "failed": 0, "not_a_scan": 0} | counts
    return MANIFEST.model_copy(update={"counts": every, "n_new_failures": n_new_failures, "drift": drift})


def _flagged(*flags: str, **changes: object) -> ScanRow:
    return DONE.model_copy(update={"flags": list(flags)} | changes)


@pytest.mark.parametrize(
    ("counts", "rows", "sentence"),
    [
        ({}, [], "No scan was found."),
        ({"not_a_scan": 3}, [], "No scan was found."),
        ({"done": 1}, [DONE], "1 of 1 scan has a mask, 1 of them new; no mask is flagged."),
        (
            {"done": 3, "skipped": 1200, "failed": 1, "n_new_failures": 1, "deferred": 2},
            [_flagged("no_lung"), _flagged("low_quality", status="skipped")],
            (
                "1,203 of 1,206 scans have a mask, 3 of them new; 1 was newly rejected; "
                "2 wait for the next run; 2 masks should be reviewed."
            ),
        ),
        (
            {"skipped": 4, "failed": 2, "n_new_failures": 1},
            [],
            "4 of 6 scans have a mask, 0 of them new; 2 were rejected, 1 of them newly; no mask is flagged.",
        ),
        (
            {"skipped": 4, "failed": 2},
            [],
            "4 of 6 scans have a mask, 0 of them new; 2 were rejected by earlier runs; no mask is flagged.",
        ),
    ],
)
def test_one_sentence_says_what_became_of_the_collection(
    counts: dict[str, int], rows: list[ScanRow], sentence: str
) -> None:
    """What is no scan is not counted; masks of earlier runs are reviewed as well."""
    assert CollectionSummary.of(_manifest(**counts), rows).sentence == sentence


@pytest.mark.parametrize(
    ("manifest", "tones"),
    [
        (_manifest(done=1), ["good", "good", "good", "watch"]),
        (_manifest(done=1, failed=1), ["good", "watch", "good", "watch"]),
        (_manifest(done=1, failed=1, n_new_failures=1), ["good", "bad", "good", "watch"]),
        (_manifest(done=1, drift=CollectionDrift(n_scans=10, n_foreign=0, median=0.2)), ["good"] * 4),
        (_manifest(done=1, drift=CollectionDrift(n_scans=10, n_foreign=1, median=0.2)), ["good"] * 3 + ["watch"]),
        (_manifest(done=1, drift=CollectionDrift(n_scans=10, n_foreign=9, median=2.0)), ["good"] * 3 + ["bad"]),
    ],
)
def test_four_numbers_say_whether_anything_is_to_be_done(manifest: SegmentationManifest, tones: list[str]) -> None:
    """New rejections and a foreign collection are bad; what is known, or unknown, is to be watched."""
    assert [tile.tone for tile in CollectionSummary.of(manifest, [DONE]).tiles] == tones


@pytest.mark.parametrize(
    ("row", "is_needed"),
    [
        (DONE, False),
        (_flagged("no_lesion"), False),
        (_flagged("no_lesion", "hu_implausible"), True),
        (_flagged(warnings=["a localiser was left out"]), True),
        (_flagged("low_quality", status="skipped"), True),
        (_flagged("low_quality", status="failed"), False),
    ],
)
def test_a_mask_is_reviewed_for_what_is_unusual_alone(row: ScanRow, *, is_needed: bool) -> None:
    """A warning or an unusual flag brings a scan to the reader's eye; a scan without a lesion is usual."""
    assert needs_review(row) == is_needed


def test_rejections_are_grouped_by_reason() -> None:
    """Most frequent first, with a sentence and the first scans; what has a mask is not among them."""
    rows = [
        FAILED.model_copy(update={"scan_id": f"scan_{n}", "error_code": code, "error": f"{code} {n}."})
        for n, code in enumerate(["too_large", "unreadable", "unreadable", "unreadable", "unreadable"])
    ]
    assert rejected_by_code([DONE, *rows]) == [
        ("unreadable", 4, "unreadable 1.", ["scan_1", "scan_2", "scan_3"]),
        ("too_large", 1, "too_large 0.", ["scan_0"]),
    ]


def test_flags_are_counted_and_explained() -> None:
    """Each flag that is raised, with the number of its scans and its sentence; no others."""
    found = flag_counts([_flagged("no_lesion"), _flagged("no_lesion", "no_lung"), DONE])
    assert sorted(found) == [
        ("no_lesion", "no lesion", 2, FLAGS["no_lesion"].sentence),
        ("no_lung", "no lung", 1, FLAGS["no_lung"].sentence),
    ]
