"""Which reader takes which file."""

from collections.abc import Callable

import numpy as np
import pytest

from tasks.core.errors import DataError
from tasks.io.formats import LABEL_READERS, READERS, read_image, read_labels, suffix_of
from tasks.io.formats.raster import write_png

PIXELS = np.array([[0, 1], [2, 255]], np.uint8)


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        ("a.png", ".png"),
        ("gs://bucket/folder.old/A.PNG", ".png"),
        ("a.nii.gz", ".gz"),
        ("folder.png/a", ""),
        (".png", ""),
    ],
)
def test_suffix_is_the_last_one_in_lower_case(path: str, suffix: str) -> None:
    """The suffix is that of the name alone, in lower case; a hidden file's name is no suffix."""
    assert suffix_of(path) == suffix


def test_every_format_reads_masks_too() -> None:
    """Images and masks come in the same formats, all of them by lower-case suffix."""
    assert READERS.keys() == LABEL_READERS.keys() == {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


@pytest.mark.parametrize("suffix", [*READERS, ".PNG"])
@pytest.mark.parametrize("read", [read_image, read_labels])
def test_known_suffixes_are_read(read: Callable[[str, bytes], np.ndarray], suffix: str) -> None:
    """Every registered suffix leads to a reader, in capitals too; the content decides the rest."""
    assert read(f"memory://folder/a{suffix}", write_png(PIXELS)).tolist() == PIXELS.tolist()


@pytest.mark.parametrize(("name", "shown"), [("Mueller_Hans.gif", ".gif"), ("Mueller_Hans", "without suffix")])
@pytest.mark.parametrize("read", [read_image, read_labels])
def test_unknown_suffixes_are_refused(read: Callable[[str, bytes], np.ndarray], name: str, shown: str) -> None:
    """A suffix without a reader is refused, naming it and the known ones but not the file."""
    with pytest.raises(DataError, match=shown) as caught:
        read(name, write_png(PIXELS))
    assert caught.value.code == "unsupported_format"
    assert ".png, .jpg" in str(caught.value)
    assert "Mueller" not in str(caught.value)
