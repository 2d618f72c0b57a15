from tasks.core.review_queue import ranked
from tasks.core.rows import ScanRow
from tests.core.samples import DONE, FAILED


def _row(scan_id: str, **found: object) -> ScanRow:
    return DONE.model_copy(update={"scan_id": scan_id, "quality": 0.7, "lesion_ml": 20.0} | found)


def _ids(*rows: ScanRow) -> list[str]:
    return [row.scan_id for row in ranked(rows)]


def test_lower_expected_quality_comes_first() -> None:
    """Of scans that are equal in all else, the one with the worse expected mask is looked at first."""
    assert _ids(_row("good", quality=0.9), _row("bad", quality=0.3), _row("unknown", quality=None)) == [
        *("bad", "unknown", "good")
    ]


def test_flags_and_drift_raise_the_rank() -> None:
    """A flag or a look unlike the training data comes before a scan without, though their qualities are equal."""
    plain, flagged = _row("plain"), _row("flagged", flags=["lesion_outside_lung"])
    foreign = _row("foreign", drift_score=3.0, flags=["out_of_domain"])
    assert _ids(plain, flagged, foreign) == ["foreign", "flagged", "plain"]


def test_larger_lesions_come_first() -> None:
    """Of equal doubt, the larger volume at stake comes first; without millilitres, voxels count."""
    assert _ids(_row("small", lesion_ml=1.0), _row("large", lesion_ml=300.0)) == ["large", "small"]
    slices = [_row(name, lesion_ml=None, lesion_voxels=n) for name, n in (("few", 10), ("many", 5000))]
    assert _ids(*slices) == ["many", "few"]


def test_empty_masks_do_not_swamp_the_queue() -> None:
    """The quality of an empty mask is 0 by convention; without another flag it comes after any doubtful lesion."""
    empty = {"quality": 0.0, "n_lesions": 0, "lesion_ml": 0.0, "lesion_voxels": 0, "flags": ["no_lesion"]}
    rows = [*(_row(f"empty_{number}", **empty) for number in range(50)), _row("lesion", quality=0.8, lesion_ml=2.0)]
    assert _ids(*rows)[0] == "lesion"
    foreign = _row("foreign", **empty | {"drift_score": 2.0, "flags": ["no_lesion", "out_of_domain"]})
    assert sorted(_ids(*rows, foreign)[:2]) == ["foreign", "lesion"]


def test_an_empty_mask_with_something_near_the_threshold_is_looked_at_early() -> None:
    """Most of these hide a lesion; it comes before a mask of middling quality, and after one that is surely bad."""
    faint = _row("faint", quality=0.0, n_lesions=0, lesion_ml=0.0, flags=["no_lesion", "faint_lesion"])
    middling, bad = _row("middling", quality=0.6, lesion_ml=1.0), _row("bad", quality=0.05)
    assert _ids(middling, faint, bad) == ["bad", "faint", "middling"]


def test_only_scans_with_a_mask_are_ranked() -> None:
    """A failed scan has nothing to look at; a skipped one, segmented by an earlier run, has."""
    skipped = _row("skipped", status="skipped")
    assert _ids(FAILED, skipped) == ["skipped"]
    assert ranked([]) == []


def test_scans_of_equal_rank_are_in_the_order_of_their_ids() -> None:
    """The queue does not depend on the order of the table."""
    assert _ids(_row("b"), _row("a")) == _ids(_row("a"), _row("b")) == ["a", "b"]
