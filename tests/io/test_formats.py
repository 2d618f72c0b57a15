"""Which reader takes which file."""

from collections.abc import Callable

import numpy as np
import pytest

from tasks.core.errors import DataError
from tasks.io.formats import KINDS, is_slice, is_volume, kind_of, read_image, read_labels, suffix_of
from tasks.io.formats.raster import RASTER, write_png

PIXELS = np.array([[0, 1], [2, 255]], np.uint8)


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        ("a.png", ".png"),
        ("gs://bucket/folder.old/A.PNG", ".png"),
        ("A.NII.gz", ".nii.gz"),
        ("a.tar.gz", ".tar.gz"),
        ("a.csv.gz", ".gz"),
        ("folder.png/a", ""),
        (".png", ""),
    ],
)
def test_suffix_is_the_last_one_in_lower_case(path: str, suffix: str) -> None:
    """The suffix is that of the name alone, in lower case, double where a format's is; a hidden name is no suffix."""
    assert suffix_of(path) == suffix


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/b.nii.gz", "nifti"),
        ("a/b.gz", None),
        ("a/b", "dicom"),
        ("a/b.000123", "dicom"),
        ("a/", "dicom"),
        ("a/.b.png", None),
        ("__MACOSX/b.png", None),
        ("a/DICOMDIR", None),
        ("a/b.txt", None),
    ],
)
def test_names_say_what_reads_a_file(path: str, kind: str | None) -> None:
    """By suffix; without one, or with a number for one, it may be DICOM; hidden names are nobody's."""
    assert kind_of(path) == kind


@pytest.mark.parametrize("suffix", KINDS)
def test_a_file_holds_a_slice_or_a_volume(suffix: str) -> None:
    """Every suffix leads to one of the two, never to both."""
    assert is_slice(f"a{suffix}") != is_volume(f"a{suffix}")


@pytest.mark.parametrize("suffix", [*RASTER.suffixes, ".PNG"])
@pytest.mark.parametrize("read", [read_image, read_labels])
def test_known_suffixes_are_read(read: Callable[[str, bytes], np.ndarray], suffix: str) -> None:
    """Every registered suffix leads to a reader, in capitals too; the content decides the rest."""
    assert read(f"memory://folder/a{suffix}", write_png(PIXELS)).tolist() == PIXELS.tolist()


@pytest.mark.parametrize(
    ("name", "shown"), [("Mueller_Hans.gif", ".gif"), ("Mueller_Hans", "without suffix"), ("Mueller.nii.gz", ".nii.gz")]
)
@pytest.mark.parametrize("read", [read_image, read_labels])
def test_unknown_suffixes_are_refused(read: Callable[[str, bytes], np.ndarray], name: str, shown: str) -> None:
    """A suffix without a reader of slices is refused, naming it and the known ones but not the file."""
    with pytest.raises(DataError, match=shown) as caught:
        read(name, write_png(PIXELS))
    assert caught.value.code == "unsupported_format"
    assert ".png, .jpg" in str(caught.value)
    assert "Mueller" not in str(caught.value)
