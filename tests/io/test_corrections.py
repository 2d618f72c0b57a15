"""Where corrections go among the labels of a source: beside them, in their place, or nowhere."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.core.config.intensity import HuConfig
from tasks.core.rows import CorrectionRow, SlicePair
from tasks.io import storage
from tasks.io.corrections import add_corrections
from tasks.io.discovery import Discovery
from tasks.io.outputs import reviews, segmentations
from tests.core.samples import CORRECTION, MANIFEST, PAIR

SCANS = "file:///scans"
CORONA = "Jun_coronacases_case10_100"


def _reviewed(output: Path, *rows: CorrectionRow) -> str:
    """Publish a segmentation with corrections, and return its URI."""
    segmentations.publish(output.as_uri(), MANIFEST.model_copy(update={"scans_uri": SCANS}), [], page="")
    made = [_with_label(output, row) for row in rows]
    reviews.publish(output.as_uri(), reviews.Tables([], [], made), agreement="")
    return output.as_uri()


def _with_label(output: Path, row: CorrectionRow) -> CorrectionRow:
    """Write image and label of a correction, whose content is the digest that the row has, and give it the true one."""
    content = str(row.label_sha256).encode()
    files = reviews.label_uris(output.as_uri(), row.scan_id, row.layout, len(row.source_uris))
    for uri in (uri for pair in files for uri in pair):
        storage.publish(uri, content)
    return row.model_copy(update={"label_sha256": reviews.label_digest([content] * len(files))})


def _correction(path: str, *, layout: str = "slice", scan_id: str = "", label: str = "l") -> CorrectionRow:
    found = {"source_uris": [f"{SCANS}/{path}"], "layout": layout, "label_sha256": label}
    return CORRECTION.model_copy(update=found | {"scan_id": scan_id or path.replace("/", "__")})


def _pair(case_id: str, slice_index: int = 0, **changes: object) -> SlicePair:
    image_uri = f"file:///in/frames/{case_id}_{slice_index}.png"
    found = {"case_id": case_id, "slice_index": slice_index, "patient_id": case_id, "image_uri": image_uri}
    return PAIR.model_copy(update=found | changes)


def _added(
    output: Path, rows: Sequence[CorrectionRow], pairs: Sequence[SlicePair] = (), *, pattern: str | None = None
) -> Discovery:
    volumes = {pair.image_uri for pair in pairs if pair.image_uri.endswith(".nii.gz")}
    found = Discovery(pairs=[*pairs], volumes=volumes)
    add_corrections(found, [_reviewed(output, *rows)], patient_id_pattern=pattern, hu=HuConfig(), assigned={})
    return found


def _keys(found: Discovery) -> list[tuple[str, str, int, bool]]:
    return [(p.patient_id, p.case_id, p.slice_index, "/accepted/" in p.mask_uri) for p in found.pairs]


@pytest.mark.parametrize(
    ("path", "layout", "expected"),
    [
        (f"{CORONA}.png", "slice", ("coronacases_case10", "coronacases_case10", 100, True)),
        (f"night.zip!/in/{CORONA}.png", "slice", ("coronacases_case10", "coronacases_case10", 100, True)),
        ("p/1.2.840.7", "series", ("p__1.2.840.7", "p__1.2.840.7", 0, True)),
        ("p/ct.nii.gz", "volume", ("p__ct", "p__ct", 0, True)),
        ("night.tar.gz!/ct.nii.gz", "volume", ("night__ct", "night__ct", 0, True)),
    ],
)
def test_patient_is_that_of_the_name_of_the_scan(
    tmp_path: Path, path: str, layout: str, expected: tuple[str, str, int, bool]
) -> None:
    """By the rules of labelled sources: suffix of a file off, of a folder not; without a rule a patient of its own."""
    assert _keys(_added(tmp_path, [_correction(path, layout=layout)])) == [expected]


def test_same_image_decides_before_its_name(tmp_path: Path) -> None:
    """An image that an index.csv gives another patient keeps that patient, whatever its name says."""
    pair = _pair("case_7", 3, patient_id="anna", image_uri=f"{SCANS}/{CORONA}.png", lung_uri="file:///lung.png")
    found = _added(tmp_path, [_correction(f"{CORONA}.png")], [pair])
    assert _keys(found) == [("anna", "case_7", 3, True)]
    assert found.pairs[0].lung_uri == pair.lung_uri
    assert "/accepted/" in found.pairs[0].image_uri, "the image it was drawn on"
    assert found.pairs[0].fingerprint != pair.fingerprint


def test_slices_of_a_stack_without_a_rule_are_of_one_patient(tmp_path: Path) -> None:
    """Else one scan would lie on both sides of the split."""
    uris = [f"{SCANS}/a/slice_{number}.png" for number in range(3)]
    row = _correction("a", layout="stack", scan_id="a").model_copy(update={"source_uris": uris})
    assert _keys(_added(tmp_path, [row])) == [("a", "a", number, True) for number in range(3)]


def test_two_series_of_one_folder_are_two_scans(tmp_path: Path) -> None:
    """Their address is the folder's; neither is lost in silence."""
    rows = [
        _correction("study", layout="series", scan_id=f"study_{n}").model_copy(update={"source_fingerprint": str(n)})
        for n in (1, 2)
    ]
    found = _added(tmp_path, rows)
    assert _keys(found) == []
    assert [failure.error_code for failure in found.failures] == ["duplicate_slice"] * 2


def test_corrections_that_no_rule_knows_are_counted(tmp_path: Path) -> None:
    """Each may be of a patient who is there by another name."""
    rows = [_correction(f"{CORONA}.png"), _correction("p/ct.nii.gz", layout="volume")]
    found = Discovery(pairs=[], volumes=set())
    added = add_corrections(found, [_reviewed(tmp_path, *rows)], patient_id_pattern=None, hu=HuConfig(), assigned={})
    assert added.n_unknown == 1


def test_volume_replaces_its_whole_case(tmp_path: Path) -> None:
    """Slices or a volume of the same case give way to a corrected volume; other cases stay."""
    row = _correction("lung_1.nii.gz", layout="volume")
    pattern = r"^(?P<patient>lung_\d+)(_(?P<slice>\d+))?$"
    slices = [_pair("lung_1", 0), _pair("lung_1", 1), _pair("lung_2", 0)]
    assert _keys(_added(tmp_path / "a", [row], slices, pattern=pattern)) == [
        ("lung_1", "lung_1", 0, True),
        ("lung_2", "lung_2", 0, False),
    ]
    volume = _pair("lung_1", image_uri="file:///in/images/lung_1.nii.gz")
    assert _keys(_added(tmp_path / "b", [row], [volume], pattern=pattern)) == [("lung_1", "lung_1", 0, True)]


def test_slice_of_a_case_that_is_a_volume_is_rejected(tmp_path: Path) -> None:
    """One slice cannot be replaced in a volume; the label stays, and the sentence says what to do."""
    volume = _pair("coronacases_case10", image_uri="file:///in/images/coronacases_case10.nii.gz")
    found = _added(tmp_path, [_correction(f"{CORONA}.png")], [volume])
    assert [pair.mask_uri for pair in found.pairs] == [volume.mask_uri]
    assert [failure.error_code for failure in found.failures] == ["duplicate_slice"]
    assert "Correct the volume" in found.failures[0].error


def test_equal_names_without_a_rule_are_not_taken_for_one_patient(tmp_path: Path) -> None:
    """Two files `chest.png` may be of two people: the correction is rejected, the label stays."""
    found = _added(tmp_path, [_correction("chest.png")], [_pair("chest")])
    assert _keys(found) == [("chest", "chest", 0, False)]
    assert [failure.error_code for failure in found.failures] == ["duplicate_slice"]


def test_copy_of_an_image_is_the_same_image(tmp_path: Path) -> None:
    """Without a rule for names, equal content tells that source and scans hold the same image."""
    for name in ("in", "scans"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "chest.png").write_bytes(b"the same")
    row = _correction("chest.png").model_copy(update={"source_uris": [(tmp_path / "scans" / "chest.png").as_uri()]})
    pair = _pair("chest", image_uri=(tmp_path / "in" / "chest.png").as_uri())
    assert _keys(_added(tmp_path / "output", [row], [pair])) == [("chest", "chest", 0, True)]
    (tmp_path / "in" / "chest.png").write_bytes(b"another")
    assert _keys(_added(tmp_path / "output", [row], [pair])) == [("chest", "chest", 0, False)]


def test_later_output_wins(tmp_path: Path) -> None:
    """Of two corrections of one scan the one of the later URI counts, and the fingerprint follows it."""
    outputs = [
        _reviewed(tmp_path / name, _correction(f"{CORONA}.png", scan_id=name, label=name)) for name in ("a", "b")
    ]
    fingerprints = set()
    for uris in (outputs, outputs[::-1], [outputs[1]]):
        found = Discovery()
        added = add_corrections(found, uris, patient_id_pattern=None, hu=HuConfig(), assigned={})
        [pair] = found.pairs
        assert pair.mask_uri.startswith(uris[-1])
        assert [source.n_scans for source in added.sources] == [1] * len(uris)
        fingerprints.add(pair.fingerprint)
    assert len(fingerprints) == 2


def test_two_scans_that_claim_one_case_are_rejected(tmp_path: Path) -> None:
    """Two volumes of a patient under a pattern without a case: neither replaces the other in silence."""
    rows = [_correction(f"{name}/p1.nii.gz", layout="volume") for name in ("first", "second")]
    found = _added(tmp_path, rows, pattern=r"(?P<patient>p\d+)")
    assert found.pairs == []
    assert [failure.error_code for failure in found.failures] == ["duplicate_slice"] * 2


def test_stack_is_as_many_slices(tmp_path: Path) -> None:
    """Each slice of a stack is named by its own file."""
    uris = [f"{SCANS}/Jun_coronacases_case10_{number:03d}.png" for number in (7, 9)]
    row = _correction("Jun_coronacases_case10", layout="stack").model_copy(update={"source_uris": uris})
    found = _added(tmp_path, [row], [_pair("coronacases_case10", 7), _pair("coronacases_case10", 8)])
    case = ("coronacases_case10", "coronacases_case10")
    assert _keys(found) == [(*case, 7, True), (*case, 8, False), (*case, 9, True)]
    assert found.pairs[2].mask_uri.endswith("mask_0001.png")


def test_refused_corrections_are_not_used(tmp_path: Path) -> None:
    """Only what a review accepted becomes a label."""
    row = _correction(f"{CORONA}.png").model_copy(update={"status": "refused"})
    assert _keys(_added(tmp_path, [row])) == []


@pytest.mark.parametrize("file", ["mask_0000.png", "image_0000.png"])
def test_label_that_is_not_the_accepted_one_is_rejected(tmp_path: Path, file: str) -> None:
    """A label that was overwritten in place, or an image that is gone, is a row with what to do; others are taken."""
    rows = [_correction(f"{CORONA}.png"), _correction("Jun_coronacases_case10_101.png")]
    uri = _reviewed(tmp_path, *rows)
    path = tmp_path / "review" / "accepted" / f"{CORONA}.png" / file
    if file.startswith("mask"):
        path.write_bytes(b"another label")
    else:
        path.unlink()
    found = Discovery()
    add_corrections(found, [uri], patient_id_pattern=None, hu=HuConfig(), assigned={})
    assert [pair.slice_index for pair in found.pairs] == [101]
    [failure] = found.failures
    assert (failure.error_code, failure.uri.rpartition("/")[2]) == ("changed", "mask_0000.png")
    assert "Run `lesions review` again" in failure.error


@pytest.mark.parametrize(
    ("predicted", "says"),
    [
        (HuConfig(window_level_hu=40, window_width_hu=400), "window level 40 HU, width 400 HU, this dataset has"),
        (HuConfig(mapping="slice_min_max"), "minimum to maximum of each slice, this dataset has window level -600 HU"),
        (HuConfig(), None),
        (None, None),
    ],
)
def test_corrections_of_other_ct_values_are_warned_of(
    tmp_path: Path, predicted: HuConfig | None, says: str | None
) -> None:
    """Both mappings are in the sentence; an output that does not say its own, and whose bundle is gone, has none."""
    uri = _reviewed(tmp_path, _correction(f"{CORONA}.png"))
    segmentations.publish(uri, MANIFEST.model_copy(update={"scans_uri": SCANS, "hu": predicted}), [], page="")
    added = add_corrections(Discovery(), [uri], patient_id_pattern=None, hu=HuConfig(), assigned={})
    assert len(added.warnings) == bool(says)
    assert all(says in warning for warning in added.warnings if says)
