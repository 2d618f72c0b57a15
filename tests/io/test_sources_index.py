"""Labelled sources with an index.csv: what its rows and columns mean, and what is wrong with them."""

from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.io import storage
from tasks.io.sources import discover_source
from tests.io.stores import failed, pair_names, put

HEADER = "image,mask,patient_id\n"


def _put_index(root: str, text: str) -> None:
    storage.publish(f"{root}/index.csv", text.encode())


def test_an_index_names_pairs_and_patients(root: str) -> None:
    """An index.csv pairs files of any name and folder; without further columns a patient is one case, in row order."""
    put(root, "x/1.png", "y/2.png", "x/3.png", "y/4.png", "x/5.png", "y/6.png", "x/unnamed.png")
    _put_index(root, HEADER + "x/5.png,y/6.png,anna\nx/1.png,y/2.png,bert\nx/3.png,y/4.png,anna\n")
    found = discover_source(root)
    assert found.failures == []
    assert found.n_unknown == 0
    assert [(p.patient_id, p.case_id, p.slice_index, p.source) for p in found.pairs] == [
        ("anna", "anna", 0, "index"),
        ("anna", "anna", 1, "index"),
        ("bert", "bert", 0, "index"),
    ]
    assert pair_names(found) == [("x/5.png", "y/6.png"), ("x/3.png", "y/4.png"), ("x/1.png", "y/2.png")]


def test_an_index_may_name_case_slice_and_source(root: str) -> None:
    """The optional columns are taken where a row fills them."""
    put(root, "x/1.png", "y/2.png", "x/3.png", "y/4.png")
    _put_index(
        root,
        "source,slice_index,case_id,patient_id,mask,image\n"
        "clinic,12,ct-1,anna,y/2.png,x/1.png\n"
        ",,,anna,y/4.png,x/3.png\n",
    )
    assert [(p.patient_id, p.case_id, p.slice_index, p.source) for p in discover_source(root).pairs] == [
        ("anna", "anna", 0, "index"),
        ("anna", "ct-1", 12, "clinic"),
    ]


def test_an_index_may_name_a_lung_mask(root: str) -> None:
    """A row that fills the column lung has that lung mask; one that names a missing file is rejected."""
    put(root, "x/1.png", "y/1.png", "z/1.png", "x/2.png", "y/2.png", "x/3.png", "y/3.png")
    _put_index(
        root,
        "image,mask,patient_id,lung\nx/1.png,y/1.png,anna,z/1.png\nx/2.png,y/2.png,bert,\nx/3.png,y/3.png,carl,z/3.png\n",
    )
    found = discover_source(root)
    assert [(p.patient_id, p.lung_uri and storage.read_bytes(p.lung_uri)) for p in found.pairs] == [
        ("anna", b"z/1.png"),
        ("bert", None),
    ]
    assert failed(found) == [("index.csv#4", "missing_file")]
    assert found.failures[0].error == "Line 4: The file named under lung does not exist; mend the index."


def test_an_index_may_name_files_of_several_sources(root: str) -> None:
    """An index beside folders of sources decides alone: what it names is taken, and nothing else is looked for."""
    put(root, *(f"{place}/{kind}/study_1_1.png" for place in ("here", "there") for kind in ("frames", "masks")))
    put(root, "there/frames/study_2_1.png", "there/masks/study_2_1.png")
    rows = [f"{place}/frames/study_1_1.png,{place}/masks/study_1_1.png,{place}" for place in ("here", "there")]
    _put_index(root, HEADER + "\n".join(rows))
    found = discover_source(root)
    assert [(p.patient_id, p.case_id) for p in found.pairs] == [("here", "here"), ("there", "there")]
    assert (found.failures, found.warnings) == ([], [])


def test_an_index_from_a_spreadsheet_is_read(root: str) -> None:
    """A byte order mark, line ends of another system and quotes change nothing."""
    put(root, "x/a, b.png", "y/2.png")
    content = b"\xef\xbb\xbf" + (HEADER + '"x/a, b.png",y/2.png,Jos\u00e9\n').replace("\n", "\r\n").encode()
    storage.publish(f"{root}/index.csv", content)
    assert [p.patient_id for p in discover_source(root).pairs] == ["José"]


def test_an_index_that_names_a_missing_file_loses_that_row(root: str) -> None:
    """A row whose image or mask is not there is rejected by its line, without the file's name in the sentence."""
    put(root, "x/1.png", "y/1.png")
    _put_index(root, HEADER + "x/1.png,y/1.png,anna\nx/Mueller.png,y/1.png,bert\nx/1.png,y/Mueller.png,carl\n,,\n")
    found = discover_source(root)
    assert [p.patient_id for p in found.pairs] == ["anna"]
    assert failed(found) == [(f"index.csv#{line}", "missing_file") for line in (3, 4, 5)]
    assert "Line 3: The file named under image does not exist" in found.failures[0].error
    assert all("Mueller" not in failure.error for failure in found.failures)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("image,mask\nx/1.png,y/1.png\n", "patient_id"),
        ("image;mask;patient_id\nx/1.png;y/1.png;anna\n", "image, mask, patient_id"),
        ("", "image, mask, patient_id"),
    ],
)
def test_an_index_without_a_needed_column_is_refused(root: str, text: str, missing: str) -> None:
    """A missing column, another separator or an empty file is a ConfigError that says which columns lack."""
    put(root, "x/1.png", "y/1.png")
    _put_index(root, text)
    with pytest.raises(ConfigError, match=f"it lacks {missing}"):
        discover_source(root)


@pytest.mark.parametrize(
    "content",
    [
        b"image,mask,patient_id\nx/1.png,y/1.png,\n",
        b"image,mask,patient_id\nx/1.png,y/1.png\n",
        b"image,mask,patient_id,slice_index\nx/1.png,y/1.png,anna,third\n",
        b"image,mask,patient_id,slice_index\nx/1.png,y/1.png,anna,-3\n",
        b"image,mask,patient_id\nx/1.png,y/1.png,Jos\xe9\n",
        b"image,mask,patient_id,case_id,slice_index\nx/1.png,y/1.png,anna,ct,0\nx/2.png,y/2.png,bert,ct,1\n",
    ],
    ids=["no patient", "short row", "slice is a word", "negative slice", "not UTF-8", "one case of two patients"],
)
def test_an_index_with_bad_cells_is_refused_or_set_aside(tmp_path: Path, content: bytes) -> None:
    """A cell that cannot be meant ends in a ConfigError or a failure: no bug, no patient without a name."""
    root = str(tmp_path)
    put(root, "x/1.png", "y/1.png", "x/2.png", "y/2.png")
    storage.publish(f"{root}/index.csv", content)
    try:
        found = discover_source(root)
    except ConfigError:
        return
    assert found.failures


def test_an_index_of_no_rows_is_nothing_to_work_with(root: str) -> None:
    """A header alone is refused like an empty source."""
    _put_index(root, HEADER)
    with pytest.raises(ConfigError, match="no labelled slice"):
        discover_source(root)


@pytest.mark.parametrize("named", ["img\\\\a.png", "./img/a.png", "img//a.png", "IMG/A.PNG", " img/a.png "])
def test_a_path_in_the_index_is_understood_however_it_is_spelled(root: str, named: str) -> None:
    """As Windows, a shell or a spreadsheet writes it; 4.0 is slice 4."""
    put(root, "img/a.png", "msk/a.png")
    index = f"image,mask,patient_id,slice_index\n{named},msk/a.png,p0,4.0\n"
    storage.publish(f"{root}/index.csv", index.encode())
    [pair] = discover_source(root).pairs
    assert (pair.patient_id, pair.slice_index) == ("p0", 4)
