"""Labelled sources: pairing by name in every layout, and everything that is rejected on the way."""

from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, StorageError
from tasks.core.naming_hint import ONE_EACH
from tasks.core.rows import FailureRow, SlicePair
from tasks.io import file_systems, source_tables, storage
from tasks.io.sources import discover_source, require_patients
from tasks.io.stored_objects import fingerprint
from tests.io.stores import failed, pair_names, put

# ---- the layouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["frames", "images"])
def test_images_and_masks_of_one_name_are_a_pair(root: str, folder: str) -> None:
    """Images in frames/ or images/ meet the mask of their name, and the name says whose slice it is."""
    name = "Jun_radiopaedia_10_85902_1_case11_o003"
    put(root, f"{folder}/{name}.png", f"masks/{name}.png")
    found = discover_source(root)
    assert found.failures == []
    assert found.n_unknown == 0
    [image, mask] = storage.list_objects(root)
    assert found.pairs == [
        SlicePair(
            case_id="radiopaedia_10_85902_1_case11",
            slice_index=3,
            patient_id="radiopaedia_10",
            source="radiopaedia",
            image_uri=image.uri,
            mask_uri=mask.uri,
            fingerprint=fingerprint([image, mask]),
        )
    ]


def test_frames_come_before_images(root: str) -> None:
    """Where both folders exist, frames/ are the images and images/ is left alone."""
    put(root, "frames/study_0255_1.png", "images/study_0255_2.png", "masks/study_0255_1.png")
    found = discover_source(root)
    assert pair_names(found) == [("frames/study_0255_1.png", "masks/study_0255_1.png")]
    assert found.failures == []


LAYOUTS = {
    "upper case": ("IMAGES/study_{}_1.PNG", "Masks/study_{}_1.png"),
    "labels": ("images/study_{}_1.png", "labels/study_{}_1.png"),
    "Decathlon": ("imagesTr/study_{}_1.nii.gz", "labelsTr/study_{}_1.nii.gz"),
    "nnU-Net": ("imagesTr/study_{}_1_0000.nii.gz", "labelsTr/study_{}_1.nii.gz"),
    "beside": ("study_{}_1.png", "study_{}_1_mask.png"),
    "a slice of number 0": ("images/study_{}_0000.png", "masks/study_{}_0000_mask.png"),
    "nnU-Net with a mark": ("images/study_{}_1_0000.nii.gz", "masks/study_{}_1_seg.nii.gz"),
    "DICOM beside DICOM": ("a{0}/study_{0}_1.dcm", "a{0}/study_{0}_1_seg.dcm"),
    "beside in folders": ("a{0}/study_{0}_1.nrrd", "a{0}/study_{0}_1.seg.nrrd"),
    "a series without suffix": ("study_{}_1/IM1", "study_{}_1_seg.nii.gz"),
    "a series in parts": ("study_{}_1/A/1.dcm", "study_{}_1_seg.nii.gz"),
    "a series and its mask": ("study_{}_1/1.dcm", "study_{}_1_seg.nii.gz"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_public_collections_are_understood(root: str, layout: str) -> None:
    """Image and mask meet, the rule of the collection names the patient, and nothing is left over."""
    put(root, *(path.format(number) for path in LAYOUTS[layout] for number in range(1, 4)))
    put(root, "dataset.json", "README.txt")
    found = discover_source(root)
    assert found.failures == []
    assert [pair.patient_id for pair in found.pairs] == ["morozov_1", "morozov_2", "morozov_3"]
    assert all(pair.image_uri != pair.mask_uri for pair in found.pairs)


def test_lung_masks_may_lie_beside_images_too(root: str) -> None:
    """Told by their mark; an image without a mask is named."""
    put(root, "study_1_1.png", "study_1_1_mask.png", "study_1_1_lung.png", "study_1_2.png")
    found = discover_source(root)
    [pair] = found.pairs
    assert pair.lung_uri is not None
    assert pair.lung_uri.endswith("study_1_1_lung.png")
    assert failed(found) == [("study_1_2.png", "unpaired_image")]


def test_what_lies_beside_the_folders_in_use_is_counted(root: str) -> None:
    """A second folder of labels, another set, and pairs beside the folders are not lost in silence."""
    put(root, "images/study_1_1.png", "masks/study_1_1.png", "labels/study_1_2.png", "imagesTs/study_1_3.png")
    put(root, "study_1_4.png", "study_1_4_mask.png", "README.txt")
    assert discover_source(root).warnings == [
        "Left out of the source: 4 files of images or masks beside the folders that are used."
    ]


def test_a_mask_without_its_image_is_no_image(root: str) -> None:
    """Told by its mark, also where masks lie beside images."""
    put(root, "study_1_1.png", "study_1_1_mask.png", "study_1_2_seg.png", "study_1_3.png")
    assert failed(discover_source(root)) == [
        ("study_1_2_seg.png", "unpaired_mask"),
        ("study_1_3.png", "unpaired_image"),
    ]


def test_pairs_go_by_name_and_never_by_order(root: str) -> None:
    """Written in different orders, with other suffixes and with gaps on both sides, each image meets its own mask."""
    numbers = [7, 100, 2, 31, 9, 12, 5]
    for number in numbers:
        storage.publish(f"{root}/frames/study_0001_{number}.jpg", b"i" * (200 - number))
    for number in sorted(numbers):
        storage.publish(f"{root}/masks/study_0001_{number}.png", b"m" * (number + 1))
    put(root, "frames/study_0001_1.png", "frames/study_0001_50.png", "masks/study_0001_3.png")
    found = discover_source(root)
    assert [p.slice_index for p in found.pairs] == sorted(numbers)
    assert pair_names(found) == [(f"frames/study_0001_{n}.jpg", f"masks/study_0001_{n}.png") for n in sorted(numbers)]
    assert failed(found) == [
        ("study_0001_1.png", "unpaired_image"),
        ("study_0001_50.png", "unpaired_image"),
        ("study_0001_3.png", "unpaired_mask"),
    ]


def test_an_image_without_mask_and_a_mask_without_image_are_set_aside(root: str) -> None:
    """What is unpaired either way is named by its URI, with what to do in the sentence."""
    put(root, "frames/study_1_1.png", "masks/study_1_1.png", "frames/study_1_2.png", "masks/study_1_3.png")
    found = discover_source(root)
    assert len(found.pairs) == 1
    assert found.failures == [
        FailureRow(
            uri=file_systems.absolute(f"{root}/frames/study_1_2.png"),
            error_code="unpaired_image",
            error="Image has no mask of the same name; add one, all zero if it shows no lesion.",
        ),
        FailureRow(
            uri=file_systems.absolute(f"{root}/masks/study_1_3.png"),
            error_code="unpaired_mask",
            error="Mask has no image of the same name; add it or remove the mask.",
        ),
    ]


def test_a_lung_mask_of_the_same_name_goes_with_its_slice(root: str) -> None:
    """lungs/ is optional by slice: one that has a lung mask names it, and its fingerprint covers it."""
    for n in (1, 2):
        put(root, f"frames/study_1_{n}.png", f"masks/study_1_{n}.png")
    before = discover_source(root).pairs
    assert [pair.lung_uri for pair in before] == [None, None]
    put(root, "lungs/study_1_2.tif")
    after = discover_source(root)
    assert after.failures == []
    assert after.pairs[0] == before[0]
    lung_uri = after.pairs[1].lung_uri
    assert lung_uri is not None
    assert storage.read_bytes(lung_uri) == b"lungs/study_1_2.tif"
    assert after.pairs[1].fingerprint != before[1].fingerprint


def test_a_lung_mask_without_image_is_set_aside(root: str) -> None:
    """A lung mask that belongs to no image is named; with a mask of its name both are."""
    put(root, "frames/study_1_1.png", "masks/study_1_1.png", "lungs/study_1_1.png", "lungs/study_1_2.png")
    put(root, "masks/study_1_3.png", "lungs/study_1_3.png", "lungs/notes.docx")
    found = discover_source(root)
    assert [pair.slice_index for pair in found.pairs] == [1]
    assert [("/".join(f.uri.split("/")[-2:]), f.error_code) for f in found.failures] == [
        ("lungs/notes.docx", "unsupported_format"),
        ("lungs/study_1_2.png", "unpaired_mask"),
        ("lungs/study_1_3.png", "unpaired_mask"),
        ("masks/study_1_3.png", "unpaired_mask"),
    ]
    assert found.failures[1].error == "Lung mask has no image of the same name; add it or remove the lung mask."


def test_two_lung_masks_of_one_name_are_set_aside_with_their_slice(root: str) -> None:
    """Which of two lung masks is meant is not guessed; the slice is not used without one either."""
    put(root, "frames/study_1_1.png", "masks/study_1_1.png", "lungs/study_1_1.png", "lungs/study_1_1.tif")
    put(root, "frames/study_1_2.png", "masks/study_1_2.png")
    found = discover_source(root)
    assert [pair.slice_index for pair in found.pairs] == [2]
    assert [f.error for f in found.failures] == [
        "1 image(s), 1 mask(s) and 2 lung mask(s) have one name but for suffix, mark and case; keep one of each."
    ] * 4


def test_files_in_subfolders_pair_by_their_whole_path(root: str) -> None:
    """A subfolder is part of the name: only the same subfolder of masks/ is looked into."""
    put(root, "frames/a/study_1_1.png", "masks/a/study_1_1.PNG", "frames/b/study_1_2.png", "masks/c/study_1_2.png")
    found = discover_source(root)
    assert pair_names(found) == [("a/study_1_1.png", "a/study_1_1.PNG")]
    assert failed(found) == [("study_1_2.png", "unpaired_image"), ("study_1_2.png", "unpaired_mask")]


def test_pairs_are_sorted_by_case_and_number(root: str) -> None:
    """Slices come in the order of the volume, 2 before 10, whatever the order of the names."""
    for name in ("study_2_1", "study_1_10", "study_1_2"):
        put(root, f"frames/{name}.png", f"masks/{name}.png")
    assert [(p.case_id, p.slice_index) for p in discover_source(root).pairs] == [
        ("morozov_1", 2),
        ("morozov_1", 10),
        ("morozov_2", 1),
    ]


def test_the_users_own_pattern_names_the_patient(root: str) -> None:
    """A patient_id_pattern replaces the known namings; names it does not match are unknown."""
    for name in ("P7-v1-003", "study_1_1"):
        put(root, f"frames/{name}.png", f"masks/{name}.png")
    found = discover_source(root, patient_id_pattern=r"^(?P<patient>P\d+)-(?P<case>v\d+)-(?P<slice>\d+)$")
    assert [(p.patient_id, p.case_id, p.slice_index) for p in found.pairs] == [
        ("P7", "P7_v1", 3),
        ("study_1_1", "study_1_1", 0),
    ]
    assert found.n_unknown == 1


def test_volumes_of_two_patients_are_two_cases(root: str) -> None:
    """Patients whose volumes are numbered alike share no case."""
    for name in ("P7-v1-003", "P8-v1-003"):
        put(root, f"frames/{name}.png", f"masks/{name}.png")
    found = discover_source(root, patient_id_pattern=r"^(?P<patient>P\d+)-(?P<case>v\d+)-(?P<slice>\d+)$")
    assert len({p.case_id for p in found.pairs}) == 2


def test_unknown_names_are_counted_and_are_patients_of_their_own(root: str) -> None:
    """A name no rule knows is never guessed: it is its own patient, and counted so that a warning can say so."""
    for name in ("bjorke_5", "bjorke_6", "study_0255_12"):
        put(root, f"frames/{name}.png", f"masks/{name}.png")
    found = discover_source(root)
    assert found.n_unknown == 2
    assert [p.patient_id for p in found.pairs] == ["bjorke_5", "bjorke_6", "morozov_0255"]


# ---- rejected -----------------------------------------------------------------------------------------------------


def test_two_files_of_one_name_are_both_set_aside(root: str) -> None:
    """Which of a.png and a.jpg is meant is not guessed: neither is used, both are named."""
    put(root, "frames/study_1_1.png", "frames/study_1_1.jpg", "masks/study_1_1.png")
    put(root, "frames/study_1_2.png", "masks/study_1_2.png")
    found = discover_source(root)
    assert [p.slice_index for p in found.pairs] == [2]
    assert ("study_1_1.jpg", "duplicate_slice") in failed(found)
    assert ("study_1_1.png", "duplicate_slice") in failed(found)


def test_two_masks_of_one_name_are_both_set_aside(root: str) -> None:
    """Which of two masks is meant is not guessed either."""
    put(root, "frames/study_1_1.png", "masks/study_1_1.png", "masks/study_1_1.tif")
    put(root, "frames/study_1_2.png", "masks/study_1_2.png")
    found = discover_source(root)
    assert [p.slice_index for p in found.pairs] == [2]
    assert [f.error for f in found.failures if f.error_code == "duplicate_slice"] == [
        "1 image(s) and 2 mask(s) have one name but for suffix, mark and case; keep one of each."
    ] * 3


def test_the_mask_of_two_rival_images_is_not_said_to_have_none(root: str) -> None:
    """A mask whose images were rejected has images of its name, and no sentence denies it."""
    put(root, "frames/study_1_1.png", "frames/study_1_1.jpg", "masks/study_1_1.png")
    put(root, "frames/study_1_2.png", "masks/study_1_2.png")
    assert "unpaired_mask" not in {code for _, code in failed(discover_source(root))}


def test_two_files_that_claim_one_slice_are_both_set_aside(root: str) -> None:
    """Names that mean the same (case_id, slice_index) are not told apart by luck: neither is used."""
    for name in ("Jun_coronacases_case1_7", "coronacases_case1_007", "coronacases_case1_8"):
        put(root, f"frames/{name}.png", f"masks/{name}.png")
    found = discover_source(root)
    assert [p.slice_index for p in found.pairs] == [8]
    assert failed(found) == [
        ("Jun_coronacases_case1_7.png", "duplicate_slice"),
        ("coronacases_case1_007.png", "duplicate_slice"),
    ]
    assert "2 files claim slice 7 of case coronacases_case1" in found.failures[0].error


def test_unknown_names_in_several_folders_are_patients_of_their_own(root: str) -> None:
    """Two files of one unknown name in two folders are no duplicates: their paths tell them apart."""
    for name in ("a/bjorke_5", "b/bjorke_5", "a/bjorke_6"):
        put(root, f"frames/{name}.png", f"masks/{name}.png")
    found = discover_source(root)
    assert [p.patient_id for p in found.pairs] == ["a__bjorke_5", "a__bjorke_6", "b__bjorke_5"]
    assert found.n_unknown == 3
    assert sorted(name.stem for name in found.unknown_slices) == ["a/bjorke_5", "a/bjorke_6", "b/bjorke_5"]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("study_1_2.png", "study_1_2_mask.png"),
        ("study_1_2.png", "study_1_2-seg.png"),
        ("study_1_2.nii.gz", "study_1_2.seg.nrrd"),
        ("study_1_2.nii.gz", "study_1_2_label.nii"),
        ("study_1_2.PNG", "Study_1_2.png"),
        ("STUDY_1_2.png", "study_1_2.png"),
        ("Mu\u0308ller_1_2.png", "M\u00fcller_1_2.png"),
        ("a/study_1_2.png", "A/study_1_2.png"),
    ],
)
def test_a_mask_is_found_under_the_names_that_collections_give_it(root: str, image: str, mask: str) -> None:
    """With a mark at its end, in another case, or with letters composed in another way."""
    put(root, f"frames/{image}", f"masks/{mask}")
    found = discover_source(root)
    assert len(found.pairs) == 1
    assert found.failures == []


def test_a_mark_is_part_of_a_name_that_has_an_image(root: str) -> None:
    """Of images `a` and `a_mask` each has its own mask."""
    put(root, "frames/a.png", "frames/a_mask.png", "masks/a.png", "masks/a_mask.png")
    found = discover_source(root)
    assert {(pair.image_uri.rpartition("/")[2], pair.mask_uri.rpartition("/")[2]) for pair in found.pairs} == {
        ("a.png", "a.png"),
        ("a_mask.png", "a_mask.png"),
    }


def test_a_series_over_several_folders_has_the_mask_of_the_folder_they_share(root: str) -> None:
    """Two folders of DICOM below the one that the mask is named after, with files of a disc among them."""
    put(root, *(f"images/p1/{part}/{n}.dcm" for part in "AB" for n in range(3)), "masks/p1.nii.gz")
    put(root, "images/p1/A/DICOMDIR", "images/p2/1.dcm", "images/p2/Thumbs.db", "masks/p2.nii.gz")
    found = discover_source(root)
    assert [pair.image_uri.rstrip("/").rpartition("/")[2] for pair in found.pairs] == ["p1", "p2"]
    assert found.failures == []


def test_without_a_pair_the_reasons_are_told(root: str) -> None:
    """Codes with their number and first sentence, because what is wrong with one is wrong with all."""
    put(root, "frames/a.png", "frames/b.png", "masks/x.png", "masks/notes.docx")
    with pytest.raises(ConfigError, match=r"2 files: unpaired_image \(Image has no mask of the same name; add one"):
        discover_source(root)


def test_slices_of_unknown_patients_are_not_split_by_patient(root: str) -> None:
    """Twelve slices of three patients are no twelve patients; the pattern that the message offers is enough."""
    names = [f"P{patient:03d}_CT_slice_{number}" for patient in range(3) for number in range(4)]
    put(root, *(f"{folder}/{name}.png" for folder in ("frames", "masks") for name in names))
    with pytest.raises(ConfigError, match="12 of 12 slices have names that match no naming rule") as error:
        require_patients(discover_source(root))
    pattern = str(error.value).split("By the pattern '")[1].split("'")[0]
    for declared, n_patients in ((pattern, 3), (ONE_EACH, 12)):
        found = discover_source(root, patient_id_pattern=declared)
        require_patients(found)
        assert len({pair.patient_id for pair in found.pairs}) == n_patients


def test_a_few_unknown_names_are_no_refusal(root: str) -> None:
    """Each is a patient of its own, as they well may be; so is each volume."""
    names = [f"coronacases_case{patient}_{number}.png" for patient in range(2) for number in range(5)]
    names += [
        "bjorke_5.png",
        "bjorke_6.png",
        *(f"v{n}_1.nii.gz" for n in range(20)),
        *(f"v{n}_2.nii.gz" for n in range(20)),
    ]
    put(root, *(f"{folder}/{name}" for folder in ("frames", "masks") for name in names))
    require_patients(discover_source(root))


def test_litter_is_ignored_and_other_files_are_named(root: str) -> None:
    """What file managers leave behind is nobody's loss; any other file that is not read is a failure."""
    put(root, "frames/study_1_1.png", "masks/study_1_1.png", "README.txt", "frames/.DS_Store", "masks/Thumbs.db")
    put(root, "frames/desktop.ini", "frames/study_1_2.docx", "masks/notes", "elsewhere/study_1_3.png")
    found = discover_source(root)
    assert len(found.pairs) == 1
    assert failed(found) == [("study_1_2.docx", "unsupported_format"), ("notes", "unsupported_format")]
    assert "type .docx" in found.failures[0].error
    assert "type without suffix" in found.failures[1].error


# ---- nothing to work with ------------------------------------------------------------------------------------------


def test_a_source_in_no_known_layout_is_refused(root: str) -> None:
    """Without frames/ or images/ beside masks/ and without an index, the error says what was found and expected."""
    put(root, "slices/a.png", "masks/a.png")
    with pytest.raises(ConfigError, match=r"holds 2 folders, of the expected ones masks; .*index.csv"):
        discover_source(root)


def test_images_without_a_mask_folder_are_refused(root: str) -> None:
    """Images alone are no labelled source."""
    put(root, "frames/a.png")
    with pytest.raises(ConfigError, match="masks/"):
        discover_source(root)


def test_nothing_to_pair_is_refused(root: str) -> None:
    """Images and masks of which no two have the same name give a ConfigError that counts them."""
    put(root, "frames/a.png", "masks/b.png", "masks/c.png")
    with pytest.raises(ConfigError, match=r"Found 3 files .* no labelled slice"):
        discover_source(root)


def test_only_duplicates_are_nothing_to_work_with(root: str) -> None:
    """A source all of whose slices are claimed twice is refused like an empty one."""
    put(root, *(f"{folder}/{name}.png" for folder in ("frames", "masks") for name in ("study_1_1", "study_1_01")))
    with pytest.raises(ConfigError, match="Found 4 files"):
        discover_source(root)


def test_a_source_that_does_not_exist_is_a_storage_error(root: str) -> None:
    """A mistyped address is not taken for an empty source."""
    with pytest.raises(StorageError, match="Nothing exists"):
        discover_source(root)


# ---- fingerprints and tables ---------------------------------------------------------------------------------------


def test_a_case_changes_when_any_of_its_files_does(tmp_path: Path) -> None:
    """The fingerprint of a case does not depend on the order of its slices, and changes with a mask or an image."""
    root = str(tmp_path)
    for n in (1, 2):
        put(root, f"frames/study_1_{n}.png", f"masks/study_1_{n}.png")
    before = discover_source(root).pairs
    assert source_tables.case_fingerprint(before) == source_tables.case_fingerprint(reversed(before))
    storage.publish(f"{root}/masks/study_1_2.png", b"another")
    after = discover_source(root).pairs
    assert after[0] == before[0]
    assert source_tables.case_fingerprint(after) != source_tables.case_fingerprint(before)


def test_pairs_and_failures_make_the_round_trip(root: str) -> None:
    """What was found is the same when a later step reads it, empty tables included."""
    put(root, "frames/study_1_1.png", "masks/study_1_1.png", "frames/study_1_2.png")
    found = discover_source(root)
    source_tables.publish_found(f"{root}/step", found.pairs, found.failures)
    assert source_tables.read_pairs(f"{root}/step") == found.pairs
    assert source_tables.read_failures(f"{root}/step") == found.failures
    [patient] = source_tables.read_patients(f"{root}/step")
    source_tables.publish_splits(f"{root}/step", [patient.model_copy(update={"split": "val"})])
    assert source_tables.read_splits(f"{root}/step") == {found.pairs[0].patient_id: "val"}
    source_tables.publish_found(f"{root}/step", found.pairs, [])
    assert source_tables.read_failures(f"{root}/step") == []


def test_names_that_differ_in_case_alone_pair_each_with_its_own(root: str) -> None:
    """On storage that tells them apart."""
    put(root, *(f"{folder}/{name}_1.png" for folder in ("frames", "masks") for name in ("aB", "ab")))
    if len(storage.list_objects(root)) == 4:
        found = discover_source(root)
        assert sorted(pair.image_uri.rpartition("/")[2] for pair in found.pairs) == ["aB_1.png", "ab_1.png"]
        assert found.failures == []
