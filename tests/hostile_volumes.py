"""MetaImage and NRRD files made to mislead a reader, each with the code it must be refused under."""

import gzip
import zlib
from collections.abc import Callable

import numpy as np

from tasks.core.errors import ErrorCode
from tasks.core.volumes import Volume
from tasks.io.formats.metaimage import read_metaimage
from tasks.io.formats.nrrd import read_nrrd

READERS: dict[str, Callable[[bytes], Volume]] = {".mha": read_metaimage, ".nrrd": read_nrrd}

VOXELS = (np.arange(2 * 3 * 4) * 37 % 101 - 50).astype("<i2").reshape(2, 3, 4)
SMOOTH = (np.arange(2 * 3 * 4) // 5).astype("<i2").reshape(2, 3, 4)
"""Packed by a code, not merely stored."""

RAW = VOXELS.tobytes()
PACKED = {".mha": zlib.compress(RAW), ".nrrd": gzip.compress(RAW, mtime=0)}
PACKED_SMOOTH = {".mha": zlib.compress(SMOOTH.tobytes()), ".nrrd": gzip.compress(SMOOTH.tobytes(), mtime=0)}
ELSEWHERE = b"/proc/self/environ"

MHA = (
    b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\nDimSize = 4 3 2\n"
    b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)
NRRD = (
    b"NRRD0004\n# by hand\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\n"
    b"space directions: (1,0,0) (0,1,0) (0,0,1)\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
    b"space origin: (0,0,0)\n\n"
)
HEADERS = {".mha": MHA, ".nrrd": NRRD}
PACKED_HEADERS = {
    ".mha": MHA.replace(b"CompressedData = False", b"CompressedData = True"),
    ".nrrd": NRRD.replace(b"encoding: raw", b"encoding: gzip"),
}


def mha(old: bytes, new: bytes, body: bytes = RAW) -> bytes:
    """Return a MetaImage with a change to its header."""
    assert old in MHA
    return MHA.replace(old, new) + body


def nrrd(old: bytes, new: bytes, body: bytes = RAW) -> bytes:
    """Return an NRRD with a change to its header."""
    assert old in NRRD
    return NRRD.replace(old, new) + body


def _file(value: bytes) -> bytes:
    """Return a MetaImage with another end of its header."""
    return mha(b"ElementDataFile = LOCAL\n", value)


HOSTILE: dict[str, tuple[str, ErrorCode, bytes]] = {
    "file elsewhere": (".mha", "unsupported_format", _file(b"ElementDataFile = " + ELSEWHERE + b"\n")),
    "value on the next line": (".mha", "unsupported_format", _file(b"ElementDataFile =\n" + ELSEWHERE + b"\n")),
    "separator on the next line": (
        ".mha",
        "unsupported_format",
        _file(b"ElementDataFile\n= " + ELSEWHERE + b"\nElementDataFile = LOCAL\n"),
    ),
    "separator behind a lone CR": (
        ".mha",
        "unreadable",
        _file(b"ElementDataFile\r= " + ELSEWHERE + b"\nElementDataFile = LOCAL\n"),
    ),
    "list on the next line": (
        ".mha",
        "unsupported_format",
        _file(b"ElementDataFile\n= LIST 3\n" + ELSEWHERE + b"\nElementDataFile = LOCAL\n"),
    ),
    "LOCAL in a comment": (
        ".mha",
        "unsupported_format",
        _file(b"Comment = a\rElementDataFile = LOCAL\nElementDataFile\n= " + ELSEWHERE + b"\n"),
    ),
    "value behind a lone CR": (".mha", "unreadable", _file(b"ElementDataFile = LOCAL\r" + ELSEWHERE + b"\n")),
    "name behind a lone CR": (
        ".mha",
        "unreadable",
        mha(b"NDims = 3\n", b"NDims = 3\rElementDataFile = " + ELSEWHERE + b"\n"),
    ),
    "no value": (".mha", "unsupported_format", _file(b"ElementDataFile =\n")),
    "a list of files": (".mha", "unsupported_format", _file(b"ElementDataFile = LIST\n" + ELSEWHERE + b"\n" * 2)),
    "a pattern": (".mha", "unsupported_format", _file(b"ElementDataFile = /proc/%d/environ 1 1 1\n")),
    "colon": (".mha", "unsupported_format", _file(b" ElementDataFile : " + ELSEWHERE + b"\n")),
    "file behind LOCAL": (
        ".mha",
        "unreadable",
        _file(b"ElementDataFile = LOCAL\nElementDataFile = " + ELSEWHERE + b"\n"),
    ),
    "long header": (
        ".mha",
        "unreadable",
        _file(
            b"Comment = a\rElementDataFile = LOCAL\nComment = "
            + b"x" * (64 << 10)
            + b"\nElementDataFile = "
            + ELSEWHERE
            + b"\n"
        ),
    ),
    "no end": (".mha", "unreadable", _file(b"")),
    "NUL": (".mha", "unreadable", mha(b"NDims", b"Comment = a\0b\nNDims")),
    "dimensions below 0": (".mha", "not_3d", mha(b"NDims = 3", b"NDims = -1")),
    "many dimensions": (".mha", "not_3d", mha(b"NDims = 3", b"NDims = 2147483647")),
    "2-D": (".mha", "not_3d", mha(b"NDims = 3", b"NDims = 2")),
    "sides below 0": (".mha", "unreadable", mha(b"4 3 2", b"-4 -3 2")),
    "no side": (".mha", "unreadable", mha(b"4 3 2", b"0 3 2")),
    "huge sides": (".mha", "too_large", mha(b"4 3 2", b"4000000000 4000000000 2000000000")),
    "sides past 64 bits": (".mha", "too_large", mha(b"4 3 2", b"4294967296 4294967296 4294967296")),
    "many digits": (".mha", "unreadable", mha(b"4 3 2", b"4 3 " + b"0" * 5000 + b"2")),
    "sides in words": (".mha", "unreadable", mha(b"4 3 2", b"four three two")),
    "two sides": (".mha", "unreadable", mha(b"4 3 2", b"4 3")),
    "a field twice": (".mha", "unreadable", mha(b"DimSize", b"DimSize = 4 3 2\nDimSize")),
    "a field under two names": (".mha", "unreadable", mha(b"Offset", b"Position = 1 2 3\nOffset")),
    "channels": (".mha", "unsupported_format", mha(b"DimSize", b"ElementNumberOfChannels = 3\nDimSize")),
    "voxels further on": (".mha", "unsupported_format", mha(b"DimSize", b"HeaderSize = 8\nDimSize")),
    "text voxels": (".mha", "unsupported_format", mha(b"BinaryData = True", b"BinaryData = False")),
    "another object": (".mha", "unsupported_format", mha(b"ObjectType = Image", b"ObjectType = Tube")),
    "vectors": (".mha", "unsupported_format", mha(b"MET_SHORT", b"MET_SHORT_ARRAY")),
    "centimetres": (".mha", "unsupported_format", mha(b"DimSize", b"DistanceUnits = cm\nDimSize")),
    "another scale": (
        ".mha",
        "unsupported_format",
        mha(b"DimSize", b"ElementToIntensityFunctionSlope = 2\nDimSize"),
    ),
    "no byte order": (".mha", "unsupported_format", mha(b"BinaryDataByteOrderMSB = False\n", b"")),
    "a flag in words": (".mha", "unreadable", mha(b"CompressedData = False", b"CompressedData = perhaps")),
    "no spacing": (".mha", "missing_spacing", mha(b"ElementSpacing = 1 1 1\n", b"")),
    "spacing of 0": (".mha", "zero_spacing", mha(b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1")),
    "spacing below 0": (".mha", "zero_spacing", mha(b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 -1 1")),
    "endless spacing": (".mha", "unreadable", mha(b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 1e999 1")),
    "spacing that is no number": (".mha", "unreadable", mha(b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 nan 1")),
    "singular axes": (".mha", "bad_affine", mha(b"1 0 0 0 1 0 0 0 1", b"1 0 0 1 0 0 0 0 1")),
    "NRRD as .mha": (".mha", "wrong_suffix", NRRD + RAW),
    "text as .mha": (".mha", "wrong_suffix", b"Dear colleague"),
    "garbage as packed voxels": (".mha", "unreadable", PACKED_HEADERS[".mha"] + b"\x05garbage" * 9),
    "data file": (".nrrd", "unsupported_format", nrrd(b"encoding", b"data file: " + ELSEWHERE + b"\nencoding")),
    "DATAFILE": (".nrrd", "unsupported_format", nrrd(b"encoding", b"DATAFILE:" + ELSEWHERE + b"\nencoding")),
    "list of data files": (
        ".nrrd",
        "unsupported_format",
        nrrd(b"\n\n", b"\ndata file: LIST\n" + ELSEWHERE + b"\n\n"),
    ),
    "data file of no name": (".nrrd", "unsupported_format", nrrd(b"encoding", b"data file:\nencoding")),
    "data file behind a lone CR": (
        ".nrrd",
        "unreadable",
        nrrd(b"kinds: domain", b"kinds: domain\rdata file: " + ELSEWHERE + b"\rdomain"),
    ),
    "NRRD of no end": (".nrrd", "unreadable", nrrd(b"\n\n", b"\n")),
    "NRRD of a long header": (".nrrd", "unreadable", nrrd(b"# by", b"#" * (64 << 10))),
    "NRRD 9": (".nrrd", "unsupported_format", nrrd(b"NRRD0004", b"NRRD0009")),
    "unknown field": (".nrrd", "unreadable", nrrd(b"kinds", b"colour: red\nkinds")),
    "NRRD field twice": (".nrrd", "unreadable", nrrd(b"kinds", b"sizes: 4 3 2\nkinds")),
    "axes below 0": (".nrrd", "not_3d", nrrd(b"dimension: 3", b"dimension: -1")),
    "4-D": (".nrrd", "not_3d", nrrd(b"dimension: 3", b"dimension: 4")),
    "space of 4": (".nrrd", "not_3d", nrrd(b"space: left-posterior-superior", b"space dimension: 4")),
    "space with time": (".nrrd", "not_3d", nrrd(b"left-posterior-superior", b"LPST")),
    "axis of time": (".nrrd", "not_3d", nrrd(b"domain domain domain", b"domain domain time")),
    "axis of colours": (".nrrd", "not_3d", nrrd(b"domain domain domain", b"RGB-color domain domain")),
    "axis of no direction": (".nrrd", "not_3d", nrrd(b"(1,0,0) (0,1,0) (0,0,1)", b"none (0,1,0) (0,0,1)")),
    "two directions": (".nrrd", "unreadable", nrrd(b"(1,0,0) (0,1,0) (0,0,1)", b"(1,0,0) (0,1,0)")),
    "a short direction": (".nrrd", "unreadable", nrrd(b"(1,0,0) (0,1,0) (0,0,1)", b"(1,0) (0,1,0) (0,0,1)")),
    "singular directions": (".nrrd", "bad_affine", nrrd(b"(0,1,0)", b"(1,0,0)")),
    "directions of 0": (".nrrd", "zero_spacing", nrrd(b"(0,1,0)", b"(0,0,0)")),
    "no directions": (".nrrd", "missing_spacing", nrrd(b"space directions: (1,0,0) (0,1,0) (0,0,1)\n", b"")),
    "spacings beside a space": (
        ".nrrd",
        "missing_spacing",
        nrrd(b"space directions: (1,0,0) (0,1,0) (0,0,1)\n", b"spacings: 1 1 1\n"),
    ),
    "a space of no patient": (".nrrd", "unsupported_format", nrrd(b"left-posterior-superior", b"scanner-xyz")),
    "inches": (".nrrd", "unsupported_format", nrrd(b"kinds", b'space units: "in" "in" "in"\nkinds')),
    "voxels as text": (".nrrd", "unsupported_format", nrrd(b"encoding: raw", b"encoding: ascii")),
    "bzip2": (".nrrd", "unsupported_format", nrrd(b"encoding: raw", b"encoding: bzip2")),
    "no endian": (".nrrd", "unsupported_format", nrrd(b"endian: little\n", b"")),
    "blocks": (".nrrd", "unsupported_format", nrrd(b"type: short", b"type: block\nblock size: 2")),
    "skipped bytes": (".nrrd", "unsupported_format", nrrd(b"kinds", b"byte skip: 8\nkinds")),
    "skipped lines": (".nrrd", "unsupported_format", nrrd(b"kinds", b"line skip: 1\nkinds")),
    "huge NRRD": (".nrrd", "too_large", nrrd(b"sizes: 4 3 2", b"sizes: 40000 40000 40000")),
    "no NRRD side": (".nrrd", "unreadable", nrrd(b"sizes: 4 3 2", b"sizes: 4 0 2")),
    "MetaImage as .nrrd": (".nrrd", "wrong_suffix", MHA + RAW),
    "garbage as gzip": (".nrrd", "unreadable", PACKED_HEADERS[".nrrd"] + b"\x05garbage" * 9),
}
"""Suffix, code and content."""
