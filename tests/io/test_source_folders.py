"""Sources of several labelled folders: which are taken, which are left out, and slices that two of them hold."""

from collections import Counter
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.io import storage
from tasks.io.sources import discover_source
from tests.io.stores import failed, put


def _put_source(root: str, *names: str, images: str = "frames") -> None:
    put(root, *(f"{folder}/{name}.png" for name in names for folder in (images, "masks")))


def _folders(root: str) -> list[tuple[str, int]]:
    """Return the folder and number of each labelled slice."""
    return [(pair.image_uri.split("/")[-3], pair.slice_index) for pair in discover_source(root).pairs]


def test_every_folder_with_images_and_masks_is_taken(root: str) -> None:
    """Folders are one source together; whose slice it is still comes from its name."""
    _put_source(f"{root}/a", "Jun_coronacases_case1_7")
    _put_source(f"{root}/b", "Jun_radiopaedia_10_85902_1_case11_o003", images="images")
    put(f"{root}/b", "lungs/Jun_radiopaedia_10_85902_1_case11_o003.png")
    found = discover_source(root)
    assert [(p.source, p.patient_id, p.lung_uri is not None) for p in found.pairs] == [
        ("coronacases", "coronacases_case1", False),
        ("radiopaedia", "radiopaedia_10", True),
    ]
    assert (found.failures, found.warnings, found.n_unknown) == ([], [], 0)


def test_one_labelled_folder_below_the_source_suffices(root: str) -> None:
    """A folder that holds nothing but one source is that source."""
    _put_source(f"{root}/a", "study_1_1", "study_1_2")
    assert _folders(root) == [("a", 1), ("a", 2)]


def test_folders_may_have_indexes_of_their_own(root: str) -> None:
    """A subfolder is taken as it would be taken alone, so also by its index; its paths are its own."""
    _put_source(f"{root}/a", "study_1_1")
    put(f"{root}/b", "x/1.png", "y/1.png")
    storage.publish(f"{root}/b/index.csv", b"image,mask,patient_id\nx/1.png,y/1.png,anna\n")
    assert [p.patient_id for p in discover_source(root).pairs] == ["anna", "morozov_1"]


def test_what_is_no_source_is_counted_and_not_named(root: str) -> None:
    """Images without masks, scans and documents are left out with one warning: how many, of which kinds."""
    _put_source(f"{root}/a", "study_1_1")
    put(root, "mueller/frames/study_2_1.png", "mueller/frames/study_2_2.png", "dicom/mueller/1.dcm", "a/README.md")
    put(root, "mueller.xyz", "README.md", "masks/study_3_1.png", "dicom/Thumbs.db")
    found = discover_source(root)
    assert (len(found.pairs), found.failures) == (1, [])
    assert found.warnings == [
        (
            "Left out of the source, because they are no labelled slices: 3 folders (1 with images but no masks/) and "
            "2 files beside the folders; in all 1 .dcm, 1 .md, 3 .png, 1 others."
        )
    ]


def test_files_that_are_rejected_in_a_folder_stay_rejected(root: str) -> None:
    """Each folder is checked as if it were alone: what does not pair, or is claimed twice in it, is a failure."""
    _put_source(f"{root}/a", "study_1_1", "study_1_2", "study_1_02")
    put(f"{root}/b", "frames/study_2_1.png", "frames/study_2_2.png", "masks/study_2_2.png")
    found = discover_source(root)
    assert [(p.case_id, p.slice_index) for p in found.pairs] == [("morozov_1", 1), ("morozov_2", 2)]
    assert failed(found) == [
        ("study_1_02.png", "duplicate_slice"),
        ("study_1_2.png", "duplicate_slice"),
        ("study_2_1.png", "unpaired_image"),
    ]


def test_a_slice_of_two_folders_is_taken_from_the_larger_one(root: str) -> None:
    """The same case and slice twice, as in a sample at another resolution: one is used, and a warning counts the other.

    Which folder comes first by name does not matter, and slices that only the smaller one holds are taken as well.
    """
    _put_source(f"{root}/a_sample", "study_1_2", "study_1_9")
    _put_source(f"{root}/whole", "study_1_1", "study_1_2", "study_1_3")
    assert _folders(root) == [("whole", 1), ("whole", 2), ("whole", 3), ("a_sample", 9)]
    found = discover_source(root)
    assert found.failures == []
    assert found.warnings == [
        (
            "Left out, because a larger folder of the source holds the same case and slice: 1 slice of 1 folder. "
            "Each slice is used once."
        )
    ]


def test_of_folders_of_one_size_the_first_by_name_is_used(root: str) -> None:
    """Exact copies of a folder: one is used in whole, always the same, and every copy is counted."""
    for name in ("c", "a", "b"):
        _put_source(f"{root}/{name}", "study_1_1", "study_1_2")
    assert _folders(root) == [("a", 1), ("a", 2)]
    assert "4 slices of 2 folders" in discover_source(root).warnings[0]


PATTERN = r"^p(?P<patient>\d+)_(?P<slice>\d+)$"


@pytest.mark.parametrize(("name", "pattern"), [("1", None), ("p1_3", PATTERN)])
def test_ids_that_mean_something_in_their_folder_alone_are_not_taken_for_one_slice(
    root: str, name: str, pattern: str | None
) -> None:
    """Patient 1 of two hospitals may be two people: neither slice is used, and both are named."""
    _put_source(f"{root}/north", name)
    _put_source(f"{root}/south", name, "study_1_1")
    found = discover_source(root, patient_id_pattern=pattern)
    assert [pair.image_uri.rsplit("/", 1)[1] for pair in found.pairs] == ["study_1_1.png"]
    assert failed(found) == [(f"{name}.png", "duplicate_slice")] * 2
    assert "2 files of several folders claim slice" in found.failures[0].error
    assert found.warnings == []


def test_a_folder_per_patient_with_images_and_masks_in_it(root: str) -> None:
    """Slices that are numbered alike in each: refused with the pattern that takes the patient from the folder."""
    for patient in ("anna", "bo", "cy"):
        _put_source(f"{root}/{patient}", "001", "002", "003")
    with pytest.raises(ConfigError, match="duplicate_slice") as error:
        discover_source(root)
    pattern, rest = str(error.value).split("preparation.patient_id_pattern '")[1].split("'", 1)
    assert rest.startswith(" they are of 3 patients.")
    found = discover_source(root, patient_id_pattern=pattern)
    assert found.failures == []
    assert {(pair.patient_id, pair.slice_index) for pair in found.pairs} == {
        (patient, number) for patient in ("anna", "bo", "cy") for number in (1, 2, 3)
    }


def test_masks_may_lie_beside_images_in_one_folder_of_several(root: str) -> None:
    """A slice that both hold by a naming rule is used once."""
    _put_source(f"{root}/a", "study_1_1", "study_1_2")
    put(f"{root}/b", "study_1_1.png", "study_1_1_mask.png", "study_2_1.png", "study_2_1_mask.png")
    found = discover_source(root)
    assert [p.patient_id for p in found.pairs] == ["morozov_1", "morozov_1", "morozov_2"]
    assert found.failures == []
    assert "1 slice of 1 folder" in found.warnings[0]


def test_an_index_does_not_say_that_its_patient_is_a_public_one(root: str) -> None:
    """An index may use the id of a built-in rule for somebody else: such a slice is not taken for the public one."""
    _put_source(f"{root}/a", "study_1_0", "study_1_1")
    put(f"{root}/b", "x/1.png", "y/1.png")
    storage.publish(f"{root}/b/index.csv", b"image,mask,patient_id\nx/1.png,y/1.png,morozov_1\n")
    found = discover_source(root)
    assert [p.slice_index for p in found.pairs] == [1]
    assert failed(found) == [("study_1_0.png", "duplicate_slice"), ("1.png", "duplicate_slice")]


def test_a_patient_id_that_two_folders_use_is_one_patient_with_a_warning(root: str) -> None:
    """Where no slice is claimed twice, the slices stay together, so that no patient can be on two sides of a split."""
    _put_source(f"{root}/north", "p1_3")
    _put_source(f"{root}/south", "p1_4", "p2_4")
    found = discover_source(root, patient_id_pattern=PATTERN)
    assert [p.patient_id for p in found.pairs] == ["1", "1", "2"]
    assert found.failures == []
    assert [warning.split(";")[0] for warning in found.warnings] == [
        "Patient ids used in several folders of the source: 1"
    ]


def test_a_public_patient_in_two_folders_is_no_matter(root: str) -> None:
    """Slices of one case may lie in several folders if their names say whose they are."""
    _put_source(f"{root}/a", "study_1_1")
    _put_source(f"{root}/b", "study_1_2")
    assert _folders(root) == [("a", 1), ("b", 2)]
    assert discover_source(root).warnings == []


def test_a_volume_and_slices_of_its_case_in_two_folders_are_one_case(root: str) -> None:
    """A volume claims all slices of its case, also those of other folders."""
    put(root, "a/images/study_1_0.nii.gz", "a/masks/study_1_0.nii.gz")
    _put_source(f"{root}/b", "study_1_1", "study_1_2", "study_2_1")
    found = discover_source(root)
    assert [(p.case_id, p.slice_index) for p in found.pairs] == [("morozov_1", 1), ("morozov_1", 2), ("morozov_2", 1)]
    assert "1 slice of 1 folder" in found.warnings[0]


def test_a_source_with_images_and_masks_of_its_own_says_that_others_are_left_out(root: str) -> None:
    """frames/ and masks/ directly below the source decide; labelled folders beside them are counted."""
    _put_source(root, "study_1_1")
    _put_source(f"{root}/b", "study_2_1")
    found = discover_source(root)
    assert [p.case_id for p in found.pairs] == ["morozov_1"]
    assert len(found.warnings) == 1
    assert "images and masks of its own: 1 folder with" in found.warnings[0]


def test_folders_two_levels_down_are_not_looked_for(root: str) -> None:
    """Only direct subfolders are sources; the refusal says so."""
    _put_source(f"{root}/a/b", "study_1_1")
    with pytest.raises(ConfigError, match=r"holds 1 folder, .* or in folders directly below"):
        discover_source(root)


@pytest.mark.data
def test_all_real_folders_together_are_one_source(data_folder: Path) -> None:
    """Both collections are found with their lung masks; the copies of case 2 at 512 px are counted, not failures."""
    found = discover_source(str(data_folder))
    assert Counter(pair.image_uri.split("/")[-3] for pair in found.pairs) == {
        "coronacases_256": 1876,
        "radiopaedia_256": 250,
    }
    assert Counter(pair.source for pair in found.pairs) == {"coronacases": 1876, "radiopaedia": 250}
    assert sum(pair.lung_uri is not None for pair in found.pairs) == 1175
    assert (found.failures, found.n_unknown) == ([], 0)
    n_sample = len([*(data_folder / "coronacases_512_sample" / "frames").iterdir()])
    repeated, left_out = found.warnings
    assert f"{n_sample} slices of 1 folder" in repeated
    assert "3 folders (1 with images but no masks/)" in left_out
