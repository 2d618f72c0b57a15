"""NRRD volumes: a text header, an empty line, then voxels (.nrrd), or voxels in another file (.nhdr).

The header is read here and not by ITK, which opens whatever path it names.
Source: teem.sourceforge.net/nrrd/format.html; `enumsNrrd.c` of NrrdIO for what else a name or value may be called.
"""

import re
from typing import Final

import numpy as np

from tasks.core.errors import DataError
from tasks.core.volumes import Grid, Volume
from tasks.io.formats.format import Format
from tasks.io.formats.stored_voxels import (
    GZIP,
    NO_ORIENTATION,
    NO_POSITION,
    check_data_file,
    check_sides,
    detached_voxels,
    lps_grid,
    read_volume_body,
)
from tasks.io.formats.text_headers import add_field, header_lines, numbers, whole_numbers

_MAGICS: Final = {f"NRRD000{version}" for version in range(1, 6)}

_DTYPES: Final = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long"), "i8"),
    **dict.fromkeys(("signed long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}

_WINDOW_BITS: Final = {"raw": None, "gz": GZIP, "gzip": GZIP}

_TO_LPS: Final = {
    **dict.fromkeys(("leftposteriorsuperior", "lps"), (1, 1, 1)),
    **dict.fromkeys(("rightanteriorsuperior", "ras"), (-1, -1, 1)),
    **dict.fromkeys(("leftanteriorsuperior", "las"), (1, -1, 1)),
}
"""Signs that convert the coordinates of a space to left, posterior, superior."""

_WITH_TIME: Final = re.compile(r"(.*time|lpst|rast|last|scannerxyzt)")

_FIELDS: Final = {
    "axismins",
    "byteskip",
    "centers",
    "datafile",
    "dimension",
    "encoding",
    "endian",
    "kinds",
    "lineskip",
    "sizes",
    "space",
    "spacedimension",
    "spacedirections",
    "spaceorigin",
    "spaceunits",
    "spacings",
    "type",
    "units",
}
"""Fields that change the meaning of voxels, without blanks, which are optional in names."""

_IGNORED_FIELDS: Final = {
    "axismaxs",
    "blocksize",
    "content",
    "labels",
    "max",
    "measurementframe",
    "min",
    "number",
    "oldmax",
    "oldmin",
    "sampleunits",
    "thicknesses",
}
"""Other fields of NRRD, which neither move nor change voxels."""


def read_nrrd(content: bytes) -> Volume:
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


def read_nrrd_pair(header: bytes, voxels: bytes, name: str) -> Volume:
    """Return the volume of a header whose voxels lie in another file (.nhdr with .raw, .raw.gz or .img).

    Args:
        header: The whole file.
        voxels: File with the voxels.
        name: Name of that file, which the header must give.

    Raises:
        DataError: As `read_nrrd`.
    """
    fields, _ = _header(header)
    check_data_file(fields.get("datafile", ""), name)
    return _read(fields, memoryview(voxels))


def _read(fields: dict[str, str], body: memoryview) -> Volume:
    grid, warnings = _grid(fields)
    window_bits = _WINDOW_BITS[fields["encoding"].lower()]
    return read_volume_body(body, grid, _dtype(fields), window_bits=window_bits, warnings=warnings)


def _check_local(fields: dict[str, str]) -> None:
    if "datafile" in fields:
        raise detached_voxels("it names a data file")


def read_nrrd_grid(content: bytes) -> Grid:
    """Return the grid a volume is stored on, from its header.

    Raises:
        DataError: As `read_nrrd` over its header.
    """
    fields, _ = _header(content)
    _check_local(fields)
    return _grid(fields)[0]


def _header(content: bytes) -> tuple[dict[str, str], int]:
    """Return the fields of the header and the offset of the voxels, after the first empty line or its end."""
    if not content.startswith(b"NRRD"):
        raise DataError("wrong_suffix", "File is not NRRD. Upload it again under its own suffix.")
    whole = content if b"\n\n" in content or b"\n\r\n" in content else content.rstrip(b"\r\n") + b"\n\n"
    lines, start = header_lines(whole, lambda line: not line)
    if lines[0] not in _MAGICS:
        raise DataError("unsupported_format", "The version of NRRD is not one of 1 to 5. Export the scan as one.")
    fields: dict[str, str] = {}
    for line in lines[1:-1]:
        name, _, value = line.partition(":")
        if line.startswith("#") or value.startswith("="):  # a comment, or metadata, which may name the patient
            continue
        name = name.strip(" \t").lower().replace(" ", "").replace("centerings", "centers")
        if name not in _FIELDS | _IGNORED_FIELDS:
            raise DataError("unreadable", "The header holds a field that NRRD does not have. Export the scan again.")
        if name == "datafile" and value.strip().upper().startswith("LIST"):  # at once: the files would follow
            raise detached_voxels("it names several files")
        add_field(fields, name, value.strip(" \t"))
    _check_form(fields)
    return fields, start


def _check_form(fields: dict[str, str]) -> None:
    """Refuse all but volumes of single numbers in millimetres."""
    [n_dimensions] = whole_numbers(fields, "dimension", 1)
    n_space = whole_numbers(fields, "spacedimension", 1)[0] if "spacedimension" in fields else 3
    if (n_dimensions, n_space) != (3, 3):
        raise DataError("not_3d", f"The array has {n_dimensions} axes in {n_space} dimensions; 3 in 3 were expected.")
    if not set(fields.get("kinds", "").lower().split()) <= {"domain", "space", "none", "???"}:
        raise DataError("not_3d", "An axis of the array is none of space; 3 axes of space were expected.")
    if fields.get("encoding", "").lower() not in _WINDOW_BITS:
        raise DataError("unsupported_format", f"The encoding must be one of {', '.join(_WINDOW_BITS)}.")
    for name, allowed in (("lineskip", {0}), ("byteskip", {0, -1})):
        if name in fields and whole_numbers(fields, name, 1)[0] not in allowed:
            raise DataError("unsupported_format", f"{name} of the header must be 0: voxels follow the header at once.")
    for name in ("spaceunits", "units"):
        if not set(fields.get(name, "").replace('"', " ").split()) <= {"mm", "???"}:
            raise DataError("unsupported_format", f"{name} of the header must be mm. Export the scan so.")


def _dtype(fields: dict[str, str]) -> np.dtype:
    """Return the type of a voxel as it is stored."""
    name = fields.get("type", "").lower()
    if name not in _DTYPES:
        raise DataError("unsupported_format", "The type of the voxels is not a number of NRRD. Export the scan again.")
    dtype, endian = np.dtype(_DTYPES[name]), fields.get("endian", "").lower()
    if dtype.itemsize > 1 and endian not in ("little", "big"):
        raise DataError("unsupported_format", "The header gives no byte order (endian). Export the scan with it.")
    return dtype.newbyteorder(">" if endian == "big" else "<")


def _grid(fields: dict[str, str]) -> tuple[Grid, tuple[str, ...]]:
    """Return the grid of the voxels, and warnings about it."""
    sides = whole_numbers(fields, "sizes", 3)
    check_sides(sides)
    if "space" not in fields and "spacedimension" not in fields:
        return _grid_of_spacings(fields, sides), (NO_ORIENTATION,)
    if "spacedirections" not in fields:
        raise DataError("missing_spacing", "The header gives no space directions. Export the scan again with them.")
    signs = np.array(_signs(fields["space"]) if "space" in fields else (1, 1, 1))
    steps_mm = np.array(_vectors(fields, "spacedirections", 3)).T
    [origin_mm] = _vectors(fields, "spaceorigin", 1) if "spaceorigin" in fields else [[0.0] * 3]
    warnings = [NO_ORIENTATION] * ("space" not in fields) + [NO_POSITION] * ("spaceorigin" not in fields)
    return lps_grid(sides, signs[:, None] * steps_mm, list(signs * origin_mm)), tuple(warnings)


def _signs(space: str) -> tuple[int, int, int]:
    name = re.sub("[- ]", "", space.lower())
    if _WITH_TIME.fullmatch(name):
        raise DataError("not_3d", "The space of the header has time for a dimension; 3 of space were expected.")
    if name not in _TO_LPS:
        raise DataError("unsupported_format", "The space of the header must be LPS, RAS or LAS. Export the scan so.")
    return _TO_LPS[name]


def _vectors(fields: dict[str, str], name: str, n_expected: int) -> list[list[float]]:
    """Return the vectors `(x,y,z)` of a field."""
    found = re.findall(r"\(([^()]*)\)", fields[name])
    between = re.sub(r"\([^()]*\)", " ", fields[name]).split()
    if "none" in between:
        raise DataError("not_3d", "An axis of the array has no direction in space; 3 axes of space were expected.")
    if between or len(found) != n_expected:
        raise DataError("unreadable", f"{name} of the header is not {n_expected} vectors. Export the scan again.")
    return [numbers({name: vector.replace(",", " ")}, name, 3) for vector in found]


def _grid_of_spacings(fields: dict[str, str], sides: list[int]) -> Grid:
    """Return the grid of an array along the axes themselves.

    The lower end of an axis is that of its first voxel, whose centre it is only where samples are said to be nodes.
    """
    spacing_mm = _known(fields, "spacings")
    if spacing_mm is None:
        raise DataError("missing_spacing", "The header gives no spacings. Export the scan again with them.")
    if min(spacing_mm) <= 0:
        raise DataError("zero_spacing", "Spacings of the header are not above 0. Export the scan again.")
    centers = fields.get("centers", "").lower().split() or [""] * 3
    if len(centers) != 3:
        raise DataError("unreadable", "The centers of the header are not 3. Export the scan again.")
    half_mm = [0.0 if center == "node" else step / 2 for center, step in zip(centers, spacing_mm, strict=True)]
    mins_mm = _known(fields, "axismins")
    return lps_grid(sides, np.diag(spacing_mm), list(np.add(mins_mm, half_mm)) if mins_mm else [0.0] * 3)


def _known(fields: dict[str, str], name: str) -> list[float] | None:
    """Return the three numbers of a field; None if it is missing or has NaN, which means unknown in NRRD."""
    words = fields.get(name, "nan").lower().split()
    return None if "nan" in words else numbers(fields, name, 3)


NRRD = Format(
    "nrrd",
    "NRRD",
    (".nrrd", ".nhdr"),
    read_volume=read_nrrd,
    read_grid=read_nrrd_grid,
    data_suffixes={".nhdr": (".raw", ".raw.gz", ".img", ".img.gz")},
    read_pair=read_nrrd_pair,
)
