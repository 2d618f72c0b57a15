"""MetaImage volumes: a text header, then voxels (.mha), or voxels in another file (.mhd).

The header is read here and not by ITK, which opens whatever path it names.
Source: MetaIO, `metaObject.cxx` and `metaImage.cxx`, as in ITK 5.4.
"""

import re
from typing import Final

import numpy as np

from tasks.core.errors import DataError
from tasks.core.volumes import Grid, Volume
from tasks.io.formats.format import Format
from tasks.io.formats.stored_voxels import (
    NO_ORIENTATION,
    NO_POSITION,
    ZLIB_OR_GZIP,
    check_data_file,
    check_sides,
    detached_voxels,
    lps_grid,
    read_volume_body,
)
from tasks.io.formats.text_headers import HEADER_BYTES, add_field, flag, header_lines, numbers, whole_numbers

_DTYPES: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # on every machine
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

_SYNONYMS: Final = {
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
    "Orientation": "TransformMatrix",
    "Rotation": "TransformMatrix",
    "ImagePosition": "Offset",
    "Origin": "Offset",
    "Position": "Offset",
}

_FIELDS: Final = {
    "BinaryData",
    "BinaryDataByteOrderMSB",
    "CompressedData",
    "CompressedDataSize",
    "DimSize",
    "DistanceUnits",
    "ElementDataFile",
    "ElementNumberOfChannels",
    "ElementSize",
    "ElementSpacing",
    "ElementToIntensityFunctionOffset",
    "ElementToIntensityFunctionSlope",
    "ElementType",
    "HeaderSize",
    "NDims",
    "ObjectType",
    "Offset",
    "TransformMatrix",
}
"""Fields that change the meaning of voxels; all others are metadata and skipped, because they may name the patient."""


def read_metaimage(content: bytes) -> Volume:
    """Return a volume on the grid it is stored on, `(slice, row, column)`.

    Args:
        content: The whole file.

    Raises:
        DataError: `unreadable`, `wrong_suffix`, `unsupported_format`, `too_large`, `not_3d`, `missing_spacing`,
            `bad_affine` or `zero_spacing`.
    """
    fields, start = _header(content)
    _check_local(fields)
    return _read(fields, memoryview(content)[start:])


def read_metaimage_pair(header: bytes, voxels: bytes, name: str) -> Volume:
    """Return the volume of a header whose voxels lie in another file (.mhd with .raw or .zraw).

    Args:
        header: The whole file.
        voxels: File with the voxels.
        name: Name of that file, which the header must give.

    Raises:
        DataError: As `read_metaimage`.
    """
    fields, _ = _header(header)
    check_data_file(fields.get("ElementDataFile", ""), name)
    return _read(fields, memoryview(voxels))


def _read(fields: dict[str, str], body: memoryview) -> Volume:
    grid = _grid(fields)
    warnings = [NO_ORIENTATION] * ("TransformMatrix" not in fields) + [NO_POSITION] * ("Offset" not in fields)
    window_bits = _window_bits(fields, len(body))
    return read_volume_body(body, grid, _dtype(fields), window_bits=window_bits, warnings=tuple(warnings))


def read_metaimage_grid(content: bytes) -> Grid:
    """Return the grid a volume is stored on, from its header.

    Raises:
        DataError: As `read_metaimage` over its header.
    """
    fields, _ = _header(content)
    _check_local(fields)
    return _grid(fields)


def _grid(fields: dict[str, str]) -> Grid:
    sides = whole_numbers(fields, "DimSize", 3)
    check_sides(sides)
    return lps_grid(sides, _steps_mm(fields), numbers(fields, "Offset", 3) if "Offset" in fields else [0.0] * 3)


def _header(content: bytes) -> tuple[dict[str, str], int]:
    """Return the fields of the header and the offset of the voxels, after ElementDataFile."""
    if content.startswith(b"NRRD") or b"NDims" not in content[:HEADER_BYTES]:
        raise DataError("wrong_suffix", "File is not a MetaImage. Upload it again under its own suffix.")
    lines, start = header_lines(content, lambda line: _split(line)[0] == "ElementDataFile")
    fields: dict[str, str] = {}
    for name, value in map(_split, lines):
        if "\r" in name:  # it ends a name, to MetaIO
            raise DataError("unreadable", "A name of the header goes on behind a lone CR. Export the scan again.")
        if name in _FIELDS and value is not None:
            add_field(fields, name, value)
    _check_form(fields)
    return fields, start


def _split(line: str) -> tuple[str, str | None]:
    """Return name and value of a line; lines without a separator continue metadata."""
    name, *value = (part.strip(" \t") for part in re.split("[=:]", line, maxsplit=1))
    return _SYNONYMS.get(name, name), value[0] if value else None


def _check_local(fields: dict[str, str]) -> None:
    if fields.get("ElementDataFile", "").upper() != "LOCAL":
        raise detached_voxels("ElementDataFile is not LOCAL")


def _check_form(fields: dict[str, str]) -> None:
    """Refuse all but volumes of single numbers in millimetres."""
    [n_dimensions] = whole_numbers(fields, "NDims", 1)
    if n_dimensions == 4 and whole_numbers(fields, "DimSize", 4)[3] == 1:  # a series of one volume
        _drop_last_axis(fields)
    elif n_dimensions != 3:
        raise DataError("not_3d", f"The volume has {n_dimensions} dimensions; 3 were expected.")
    for name, expected in (
        ("ElementNumberOfChannels", 1),
        ("ElementToIntensityFunctionSlope", 1),
        ("ElementToIntensityFunctionOffset", 0),
    ):
        if name in fields and numbers(fields, name, 1) != [expected]:
            raise DataError("unsupported_format", f"{name} of the header must be {expected}. Export the scan so.")
    if "HeaderSize" in fields and whole_numbers(fields, "HeaderSize", 1)[0] not in (0, -1):
        raise DataError("unsupported_format", "HeaderSize of the header must be 0: voxels follow the header at once.")
    if fields.get("ObjectType", "Image") != "Image":
        raise DataError("unsupported_format", "The MetaIO object is no image. Export the scan as an image.")
    if not flag(fields, "BinaryData", default=True):
        raise DataError("unsupported_format", "Voxels are written as text. Export the scan with binary data.")
    if fields.get("DistanceUnits", "mm") not in ("mm", "?"):
        raise DataError("unsupported_format", "DistanceUnits of the header must be mm. Export the scan so.")


def _drop_last_axis(fields: dict[str, str]) -> None:
    """Turn the header of four dimensions into that of three."""
    for name in ("DimSize", "ElementSpacing", "ElementSize", "Offset"):
        if name in fields:
            fields[name] = " ".join(fields[name].split()[:3])
    if "TransformMatrix" in fields:
        rows = np.reshape(numbers(fields, "TransformMatrix", 16), (4, 4))
        fields["TransformMatrix"] = " ".join(f"{value:.17g}" for value in rows[:3, :3].ravel())


def _window_bits(fields: dict[str, str], n_found: int) -> int | None:
    """Return the window bits of packed voxels; None if they are not packed."""
    if not flag(fields, "CompressedData", default=False):
        return None
    if "CompressedDataSize" in fields:
        [n_claimed] = whole_numbers(fields, "CompressedDataSize", 1)
        if n_claimed != n_found:
            found = f"The file holds {n_found} bytes of packed voxels; its header claims {n_claimed}."
            raise DataError("unreadable", f"{found} Upload it again.")
    return ZLIB_OR_GZIP


def _dtype(fields: dict[str, str]) -> np.dtype:
    """Return the type of a voxel as it is stored."""
    if fields.get("ElementType") not in _DTYPES:
        raise DataError("unsupported_format", f"ElementType must be one of {', '.join(_DTYPES)}.")
    dtype = np.dtype(_DTYPES[fields["ElementType"]])
    if dtype.itemsize > 1 and "BinaryDataByteOrderMSB" not in fields:
        raise DataError("unsupported_format", "The header gives no BinaryDataByteOrderMSB. Export the scan with it.")
    return dtype.newbyteorder(">" if flag(fields, "BinaryDataByteOrderMSB", default=False) else "<")


def _steps_mm(fields: dict[str, str]) -> np.ndarray:
    """Return the steps along column, row and slice axis as columns, LPS+, mm, `(3, 3)`.

    TransformMatrix has one axis after the other. ElementSize is the extent of a voxel and replaces a missing spacing,
    as in MetaIO.
    """
    name = "ElementSpacing" if "ElementSpacing" in fields else "ElementSize"
    if name not in fields:
        raise DataError("missing_spacing", "The header gives no ElementSpacing. Export the scan again with it.")
    spacing_mm = numbers(fields, name, 3)
    if min(spacing_mm) <= 0:
        raise DataError("zero_spacing", f"{name} of the header is not above 0. Export the scan again.")
    axes = numbers(fields, "TransformMatrix", 9) if "TransformMatrix" in fields else np.eye(3)
    steps: np.ndarray = np.reshape(axes, (3, 3)).T * spacing_mm
    return steps


METAIMAGE = Format(
    "metaimage",
    "MetaImage",
    (".mha", ".mhd"),
    read_volume=read_metaimage,
    read_grid=read_metaimage_grid,
    data_suffixes={".mhd": (".raw", ".zraw")},
    read_pair=read_metaimage_pair,
)
