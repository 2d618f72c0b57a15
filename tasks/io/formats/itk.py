"""MetaImage (.mha) and NRRD volumes, read by SimpleITK."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.core.errors import DataError
from tasks.core.grids import LPS_TO_RAS, Grid
from tasks.core.volumes import Volume

if TYPE_CHECKING:
    import SimpleITK

HEADER_BYTES = 64 << 10
MAX_VOXELS = 1 << 29
"""1,000 slices of 512x512 are half of it."""


def read_itk(content: bytes) -> Volume:
    """Return a volume on the grid it is stored on, `(slice, row, column)`.

    Args:
        content: The whole file.

    Raises:
        DataError: `unreadable`, `unsupported_format`, `too_large`, `not_3d`, `bad_affine` or `zero_spacing`.
    """
    import SimpleITK  # here, because a driver lists scans and reads none

    suffix = _suffix(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"scan{suffix}")  # SimpleITK reads by path and suffix only
        path.write_bytes(content)
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
            size = reader.GetSize()
            if int(np.prod(size, dtype=float)) > MAX_VOXELS:
                raise DataError("too_large", f"The volume has {size} voxels; at most {MAX_VOXELS} are read.")
            image = reader.Execute()
        except RuntimeError as err:
            raise DataError("unreadable", "File is not a whole MetaImage or NRRD volume. Upload it again.") from err
    if image.GetDimension() != 3:
        raise DataError("not_3d", f"The volume has {image.GetDimension()} dimensions; 3 were expected.")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise DataError("unsupported_format", "Voxels hold several values each; one was expected.")
    voxels = SimpleITK.GetArrayFromImage(image)
    grid = Grid(voxels.shape, _affine(image))
    grid.check()
    return Volume(voxels, grid)


def _suffix(content: bytes) -> str:
    """Return what the content is, after its header has been found to hold its own voxels."""
    lines = re.split(rb"\r\n|\r|\n", content[:HEADER_BYTES])
    if content.startswith(b"NRRD"):
        _require(b"" in lines, "its header does not end")
        header = lines[: lines.index(b"")]
        _require(
            not any(re.match(rb"\s*data ?file\s*:", line, re.IGNORECASE) for line in header), "it names a data file"
        )
        return ".nrrd"
    keys = [re.match(rb"\s*ElementDataFile\s*[=:]\s*(\S*)", line) for line in lines]
    named = [key.group(1).upper() for key in keys if key]
    if not named and not content.lstrip().startswith((b"ObjectType", b"NDims", b"Comment")):
        raise DataError("wrong_suffix", "File is neither MetaImage nor NRRD. Upload it again under its own suffix.")
    _require(bool(named) and set(named) == {b"LOCAL"}, "ElementDataFile is not LOCAL")
    return ".mha"


def _require(holds_its_own: bool, reason: str) -> None:
    """Refuse a header that takes its voxels from another file: it could name any file of this machine."""
    if not holds_its_own:
        raise DataError(
            "unsupported_format", f"Voxels must stand in the file itself ({reason}); send both as one file."
        )


def _affine(image: "SimpleITK.Image") -> np.ndarray:
    """Return voxel index (slice, row, column) to world, RAS+, of an image, LPS+ (x, y, z)."""
    lps = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, :3] = direction[:, ::-1]
    lps[:3, 3] = image.GetOrigin()
    ras: np.ndarray = LPS_TO_RAS @ lps
    return ras
