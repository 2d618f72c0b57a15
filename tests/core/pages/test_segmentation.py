import json
import re

import pytest

from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.pages.segmentation import PROFILE_BARS, distributions_of, segmentation_report, to_review
from tasks.core.rows import ScanRow
from tests.core.samples import DONE, FAILED, MANIFEST

MANY = 10_000
MAX_BYTES = 15_000_000


def _data(page: str) -> dict[str, object]:
    """Return what the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    data = json.loads(found[1])
    data["scans"] = [dict(zip(data["fields"], values, strict=True)) for values in data["scans"]]
    return data


def _page(rows: list[ScanRow], **changes: object) -> str:
    return segmentation_report(MANIFEST.model_copy(update=changes), rows, pictures={})


def test_previews_of_earlier_versions_are_shown_whole() -> None:
    """They hold each slice twice, and their rows do not say which side is the patient's right."""
    for is_oriented in (True, False, None):
        row = DONE.model_copy(update={"n_slices": 3, "lesion_profile": [0, 5, 0], "is_oriented": is_oriented})
        [scan] = _data(_page([row]))["scans"]
        assert (scan["shown"] is None) == (is_oriented is None)


def test_every_scan_is_in_the_page_with_its_figures() -> None:
    """Flags and sentences are by number, since many scans share them."""
    flagged = DONE.model_copy(update={"scan_id": "b", "flags": ["no_lung"], "warnings": ["odd", "rare"]})
    also = flagged.model_copy(update={"scan_id": "c", "warnings": ["rare"]})
    data = _data(_page([DONE, flagged, also, FAILED]))
    scans = {scan["id"]: scan for scan in data["scans"]}
    assert scans["scan_done"]["voxels"] == 1234
    assert scans["scan_done"]["rank"] is None
    assert scans["b"]["sha"] == DONE.mask_sha256
    assert [data["flags"][index] for index in scans["b"]["flags"]] == ["no_lung"]
    assert [data["sentences"][index] for index in scans["c"]["warnings"]] == ["rare"]
    assert data["sentences"][scans["scan_failed"]["error"]] == "Image is truncated."
    assert {scans["b"]["rank"], scans["c"]["rank"]} == {0, 1}


def test_the_page_names_scans_by_id_never_by_file() -> None:
    """A file's name may hold a patient's; the page shows scan ids alone."""
    page = _page([FAILED])
    assert "john_doe" not in page
    assert "scan_failed" in page


def test_a_page_escapes_what_it_shows() -> None:
    """A scan id that looks like markup is text, in the page's words and in the data of its script."""
    hostile = "</script><script>alert(1)</script>"
    page = _page([FAILED.model_copy(update={"scan_id": hostile, "error": "a < b & c"})])
    assert "<script>alert" not in page
    assert [scan["id"] for scan in _data(page)["scans"]] == [hostile]


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """Its policy allows what is inside it, and pictures beside it."""
    page = _page([DONE])
    assert "default-src 'none'; img-src 'self' file: data:" in page
    assert not re.search(r"(src|href)=.?https?:", page)


def test_a_page_without_scans_has_no_table() -> None:
    """An empty collection is a sentence, not an empty table."""
    page = _page([], counts={"done": 0, "skipped": 0, "deferred": 0, "failed": 0})
    assert "No scan was found." in page
    assert "<script" not in page


def test_the_page_says_what_the_masks_depend_on() -> None:
    """Warnings, settle time, threshold and smallest lesion."""
    settings = SegmentationConfig(settle_minutes=7.5)
    page = _page([DONE], warnings=("bfloat16 was asked for",), segmentation=settings, threshold=0.25)
    assert "bfloat16 was asked for" in page
    assert "younger than 7.5 min" in page
    assert "Threshold 0.250, lesions below 3 px at the model&#39;s size removed" in page
    assert "lesions of all sizes kept" in _page([DONE], min_lesion_px=1)


@pytest.mark.parametrize(
    ("voxels", "profile"),
    [
        ([0, 0], "00"),
        ([0, 50, 100], "0vZ"),
        ([1, 100_000], "1Z"),
        (None, None),
        ([5], None),
    ],
)
def test_a_profile_shows_each_slice_as_a_height(voxels: list[int] | None, profile: str | None) -> None:
    """Of the largest; a slice with little lesion is no empty one."""
    [scan] = _data(_page([DONE.model_copy(update={"lesion_profile": voxels})]))["scans"]
    assert scan["profile"] == profile


def test_a_long_profile_keeps_the_largest_of_its_neighbours() -> None:
    """One slice with lesion among a thousand is still seen."""
    voxels = [0] * 1000
    voxels[500] = 7
    [scan] = _data(_page([DONE.model_copy(update={"lesion_profile": voxels})]))["scans"]
    assert len(scan["profile"]) == PROFILE_BARS
    assert scan["profile"].count("Z") == 1


def test_distributions_are_of_figures_that_scans_have() -> None:
    """Millilitres where any scan has them, else pixels; no empty one; drift of masks without lesion as well."""
    assert [each.title for each in distributions_of([DONE])] == ["Lesion area, px"]
    measured = DONE.model_copy(update={"lesion_ml": 3.0, "lung_involvement": 0.1, "quality": 0.7, "drift_score": 0.4})
    empty = measured.model_copy(update={"n_lesions": 0})
    shown = {each.title: each.n_scans for each in distributions_of([measured, empty])}
    assert shown == {"Lesion volume, ml": 1, "Lesion, % of the lung": 1, "Expected Dice": 1, "Drift score": 2}


def test_only_what_is_to_be_reviewed_is_in_the_queue() -> None:
    """A scan without flags or warnings has no place in it, however large its lesion."""
    flagged = DONE.model_copy(update={"scan_id": "b", "flags": ["low_quality"], "quality": 0.3})
    assert [row.scan_id for row in to_review([DONE, flagged, FAILED])] == ["b"]


def test_ten_thousand_scans_weigh_less_than_fifteen_megabytes() -> None:
    """With flags, sentences and a profile of 300 slices each."""
    rows = [
        DONE.model_copy(
            update={
                "scan_id": f"collection__2026__scan_{number:05d}",
                "flags": ["low_quality", "out_of_domain"],
                "warnings": ["a localiser was left out", f"{number % 9} slices are missing"],
                "lesion_profile": [number % 7] * 300,
                "lesion_ml": number / 7,
                "quality": 0.5,
                "quality_low": 0.1,
                "quality_high": 0.9,
                "drift_score": 1.25,
                "spacing_mm": [5.0, 0.7, 0.7],
            }
        )
        for number in range(MANY)
    ]
    assert len(_page(rows).encode()) < MAX_BYTES
