"""Thirty-odd ways in which an archive disappoints, each with the code it must be rejected under."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, DeflatedExplicitVRLittleEndian

from tasks.core.errors import ErrorCode
from tests.itk_files import write_by_itk
from tests.volumes import Truth, grid_around, to_bytes, to_dicom, to_nifti

Files = dict[str, bytes]
TRUTH = Truth()
GRID = grid_around(TRUTH, (12, 24, 28), (3.0, 2.0, 2.0), np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])
"""Axial slices as scanners write them."""

VOXELS = TRUTH.voxels(GRID)


def png(side: int = 40) -> bytes:
    """Return a grey slice."""
    pixels = (np.arange(side * side) % 251).astype(np.uint8).reshape(side, side)
    return _saved(Image.fromarray(pixels), "PNG")


def series(name: str, number: int, slices: list[Dataset] | None = None, **changes: Any) -> Files:
    """Return a DICOM series in a folder of its own."""
    slices = slices or to_dicom(VOXELS, GRID, series=number, **changes)
    return {f"{name}/{index:03d}.dcm": to_bytes(dataset) for index, dataset in enumerate(slices)}


def good() -> Files:
    """Return scans of every format that are as they should be."""
    return {
        "good/slice.png": png(),
        "good/volume.nii.gz": to_nifti(VOXELS, GRID),
        "good/plain.nii": to_nifti(VOXELS, GRID, is_gzipped=False),
        "good/volume.mha": write_by_itk(VOXELS, GRID, ".mha"),
        "good/volume.nrrd": write_by_itk(VOXELS, GRID, ".nrrd"),
        **series("good/series", 1),
    }


def _saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _naming(end: bytes) -> bytes:
    """Return a MetaImage whose header ends in another way."""
    return write_by_itk(VOXELS, GRID, ".mha").replace(b"ElementDataFile = LOCAL", end)


def _garbled(suffix: str) -> bytes:
    """Return a volume with one bit of its packed voxels flipped."""
    content = bytearray(write_by_itk(VOXELS, GRID, suffix, is_packed=True))
    content[-100] ^= 4
    return bytes(content)


def _moved(number: int, move: Callable[[int, list[float]], list[float]]) -> list[Dataset]:
    """Return a series whose slices lie elsewhere."""
    slices = to_dicom(VOXELS, GRID, series=number)
    for index, dataset in enumerate(slices):
        dataset.ImagePositionPatient = move(index, [float(value) for value in dataset.ImagePositionPatient])
    return slices


def _nifti(voxels: np.ndarray, affine: np.ndarray) -> bytes:
    content: bytes = nib.Nifti1Image(voxels, affine).to_bytes()
    return gzip.compress(content, 1)


def _nifti_without_extent() -> bytes:
    content = bytearray(to_nifti(VOXELS, GRID, is_gzipped=False))
    struct.pack_into("<12f", content, 280, *([0.0] * 12))  # srow_x, srow_y, srow_z
    return gzip.compress(bytes(content), 1)


def _claiming(depth: int) -> bytes:
    """Return a volume whose header claims another depth."""
    content = bytearray(to_nifti(VOXELS, GRID, is_gzipped=False))
    struct.pack_into("<h", content, 46, depth)  # dim[3]
    return bytes(content)


def _with_nan() -> np.ndarray:
    voxels = VOXELS.astype(np.float32)
    voxels[3, 4, 5] = np.nan
    return voxels


def zipped(members: Files, **how: Any) -> bytes:
    """Return files as a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _encrypted() -> bytes:
    content = bytearray(zipped({"secret.png": png()}))
    content[6] |= 1  # general purpose flag of the local header
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # and of the directory
    return bytes(content)


def tar(members: Files | list[tuple[str, bytes]], mode: str = "w:", *, extra: list[tarfile.TarInfo] = []) -> bytes:  # noqa: B006
    """Return files as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return buffer.getvalue()


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def pack(packing: str, files: Files, path: Path) -> None:
    """Write files as an archive."""
    if packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        path.write_bytes(tar(files, {"tar": "w:", "tgz": "w:gz", "tbz": "w:bz2", "txz": "w:xz"}[packing]))


def _damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(64) + content[middle + 64 :]


def _hit(content: bytes, name: bytes) -> bytes:
    """Return a tar with the checksum of one member's header destroyed."""
    start = content.index(name) + 148  # POSIX ustar: chksum
    return content[:start] + b"XXXXXX" + content[start + 6 :]


def _link() -> tarfile.TarInfo:
    info = tarfile.TarInfo("link.png")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def _localiser(number: int) -> list[Dataset]:
    return to_dicom(VOXELS, GRID, series=number, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])


def _rgb(number: int) -> list[Dataset]:
    changes = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    return to_dicom(VOXELS, GRID, series=number, **changes)


def _film(number: int) -> list[Dataset]:
    """Return a series in a syntax nobody decodes slices of."""
    slices = to_dicom(VOXELS, GRID, series=number)
    for dataset in slices:
        dataset.file_meta.TransferSyntaxUID = MPEG2MPML
        dataset.PixelData = encapsulate([bytes(64)])
        dataset["PixelData"].VR = "OB"
    return slices


def _ramp(shape: tuple[int, int, int]) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int64).reshape(shape).astype(np.int16)


def _nifti2(voxels: np.ndarray, step_mm: float) -> bytes:
    """Return a NIfTI-2, whose sides are in int64 and whose affine is in float64."""
    with np.errstate(over="ignore"):
        image = nib.Nifti2Image(voxels, np.diag([step_mm, step_mm, step_mm, 1]))
    return gzip.compress(image.to_bytes(), 1)


def _claiming_header(n_bytes: int) -> bytes:
    info = tarfile.TarInfo("p")
    info.type, info.size = tarfile.XHDTYPE, n_bytes
    return info.tobuf(tarfile.GNU_FORMAT) + tar({"a.png": png()})


def _chain(n: int) -> bytes:
    info = tarfile.TarInfo("p")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 5
    return (info.tobuf() + b"a.png" + bytes(507)) * n + tar({"a.png": png()})


def _tiff(n_directories: int = 1, **tags: int) -> bytes:
    """Return a TIFF of 16x16 px by hand, every directory of the same image; tiled if tags say so."""
    tile = {"TileWidth": 322, "TileLength": 323}
    entries = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, **{tile[name]: value for name, value in tags.items()}}
    at, length = (324, 325) if tags else (273, 279)
    size = 2 + 12 * (len(entries) + 2 + (not tags)) + 4
    entries |= {at: 8 + n_directories * size, length: 256} | ({} if tags else {278: 16})
    out = bytearray(b"II*\0\x08\0\0\0")
    for number in range(n_directories):
        out += struct.pack("<H", len(entries))
        out += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
        out += struct.pack("<I", 8 + (number + 1) * size if number < n_directories - 1 else 0)
    return bytes(out) + bytes(range(256))


def _inflating(number: int) -> list[Dataset]:
    """Return a series, deflated, with far more pixels than its headers claim."""
    slices = to_dicom(VOXELS, GRID, series=number)
    for dataset in slices:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.PixelData += bytes(8 << 20)
    return slices


def _dictionary(n_bytes: int) -> bytes:
    """Return a zip packed by LZMA whose properties ask for a dictionary of that size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", png())
    content = bytearray(buffer.getvalue())
    struct.pack_into("<I", content, 30 + len("a.png") + 5, n_bytes - 1)
    return bytes(content)


RGB_NIFTI = np.zeros((4, 4, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))

NOISE = np.random.default_rng(0).bytes(1 << 20)
SINGULAR = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])

FILES: dict[str, tuple[ErrorCode, Callable[[], Files]]] = {
    "empty": ("empty_file", lambda: {"empty.png": b""}),
    "empty nifti": ("empty_file", lambda: {"empty.nii.gz": b""}),
    "empty dicom": ("empty_file", lambda: {"empty dicom/1.dcm": b""}),
    "truncated png": ("unreadable", lambda: {"cut.png": _half(png())}),
    "truncated gzip": ("unreadable", lambda: {"cutnii.nii.gz": _half(to_nifti(VOXELS, GRID))}),
    "corrupt gzip": ("unreadable", lambda: {"corrupt.nii.gz": _damaged(to_nifti(VOXELS, GRID))}),
    "truncated nifti": ("unreadable", lambda: {"short.nii": to_nifti(VOXELS, GRID, is_gzipped=False)[:-500]}),
    "truncated dicom": (
        "unreadable",
        lambda: {name: content[:-200] for name, content in series("cut series", 20).items()},
    ),
    "truncated mha": ("unreadable", lambda: {"cutmha.mha": write_by_itk(VOXELS, GRID, ".mha")[:-900]}),
    "not an image": ("unreadable", lambda: {"textpng.png": b"Dear colleague, please find enclosed nothing."}),
    "text as nifti": ("unreadable", lambda: {"textnii.nii.gz": b"Dear colleague"}),
    "png as dicom": ("wrong_suffix", lambda: {"wrong/picture.dcm": png()}),
    "text as mha": ("wrong_suffix", lambda: {"textmha.mha": b"Dear colleague"}),
    "mha of another file": ("unsupported_format", lambda: {"elsewhere.mha": _naming(b"ElementDataFile = /etc/passwd")}),
    "mha of another file, by a colon": (
        "unsupported_format",
        lambda: {"colon.mha": _naming(b" ElementDataFile : /etc/passwd")},
    ),
    "mha of another file, on the next line": (
        "unsupported_format",
        lambda: {"next line.mha": _naming(b"ElementDataFile =\n/etc/passwd")},
    ),
    "mha without a dimension": (
        "not_3d",
        lambda: {"dimension.mha": write_by_itk(VOXELS, GRID, ".mha").replace(b"NDims = 3", b"NDims = -1")},
    ),
    "packed mha that is damaged": ("unreadable", lambda: {"packed.mha": _garbled(".mha")}),
    "packed nrrd that is damaged": ("unreadable", lambda: {"packed.nrrd": _garbled(".nrrd")}),
    "nrrd of another file": (
        "unsupported_format",
        lambda: {
            "detached.nrrd": write_by_itk(VOXELS, GRID, ".nrrd").replace(
                b"encoding:", b"data file: /etc/passwd\nencoding:", 1
            )
        },
    ),
    "claims gigabytes": ("unreadable", lambda: {"claims.nii": _claiming(30_000)}),
    "no voxels": ("unreadable", lambda: {"none.nii": _claiming(0)}),
    "claims frames": (
        "missing_position",
        lambda: series("claims frames", 36, to_dicom(VOXELS, GRID, series=36, NumberOfFrames=2_000_000_000)[:1]),
    ),
    "not a number": ("non_finite", lambda: {"nan.nii.gz": _nifti(_with_nan(), GRID.affine)}),
    "constant volume": ("constant", lambda: {"constant.nii.gz": _nifti(np.zeros_like(VOXELS), GRID.affine)}),
    "constant slice": (
        "constant",
        lambda: {"black.png": _saved(Image.fromarray(np.zeros((40, 40), np.uint8)), "PNG")},
    ),
    "4-D": ("not_3d", lambda: {"4d.nii.gz": _nifti(np.stack([VOXELS, VOXELS], axis=-1), GRID.affine)}),
    "2-D": ("not_3d", lambda: {"2d.nii.gz": _nifti(VOXELS[0], GRID.affine)}),
    "colours in nifti": ("unsupported_format", lambda: {"colour.nii.gz": _nifti(RGB_NIFTI, np.eye(4))}),
    "singular affine": (
        "bad_affine",
        lambda: {
            "singular.nii.gz": _nifti(VOXELS, np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
        },
    ),
    "no extent": ("zero_spacing", lambda: {"flat.nii.gz": _nifti_without_extent()}),
    "another modality": ("not_ct", lambda: series("mr", 21, Modality="MR")),
    "no rescale": ("missing_rescale", lambda: series("no rescale", 22, RescaleIntercept=None)),
    "colours in dicom": ("not_grey", lambda: series("rgb", 23, _rgb(23))),
    "text in the pixels": ("burned_in_annotation", lambda: series("burned", 24, BurnedInAnnotation="YES")),
    "no positions": ("missing_position", lambda: series("no position", 25, ImagePositionPatient=None)),
    "no spacing": ("missing_spacing", lambda: series("no spacing", 26, PixelSpacing=None)),
    "two at one position": (
        "duplicate_position",
        lambda: series("twice", 27, _moved(27, lambda n, at: [at[0], at[1], at[2] - 3 * (n == 5)])),
    ),
    "most slices missing": (
        "missing_slices",
        lambda: series("gap", 28, [to_dicom(VOXELS, GRID, series=28)[n] for n in (0, 1, 2, 10, 11)]),
    ),
    "uneven slices": (
        "unequal_spacing",
        lambda: series("uneven", 29, _moved(29, lambda n, at: [at[0], at[1], at[2] + 1.1 * (n > 5)])),
    ),
    "gantry tilt": (
        "gantry_tilt",
        lambda: series("tilt", 30, _moved(30, lambda n, at: [at[0], at[1] + 0.6 * n, at[2]])),
    ),
    "shifted slices": (
        "shifted_slices",
        lambda: series("shifted", 31, _moved(31, lambda n, at: [at[0] + 30 * (4 <= n < 8), at[1], at[2]])),
    ),
    "an iodine map": ("not_hu", lambda: series("iodine", 32, RescaleType="MGML")),
    "localiser only": ("localiser_only", lambda: series("localiser", 34, _localiser(34))),
    "unknown transfer syntax": ("unsupported_syntax", lambda: series("film", 35, _film(35))),
    "a side no mask can have": ("too_large", lambda: {"long.nii.gz": _nifti2(_ramp((40_000, 4, 2)), 1)}),
    "steps of 1e200 mm": ("bad_affine", lambda: {"steps.nii.gz": _nifti2(VOXELS, 1e200)}),
    "steps of a thousand kilometres": ("bad_affine", lambda: {"far.nii.gz": _nifti2(VOXELS, 1e9)}),
    "volume of one voxel a slice": ("too_small", lambda: {"needle.nii.gz": _nifti2(_ramp((1, 1, 20_000)), 1)}),
    "picture of a few pixels": ("too_small", lambda: {"dot.png": png(4)}),
    "thousands of slices": ("too_large", lambda: {"deep.nii.gz": _nifti2(_ramp((8, 8, 9000)), 1)}),
    "tiff of a huge tile": ("too_large", lambda: {"tile.tif": _tiff(TileWidth=60_000, TileLength=60_000)}),
    "tiff of many directories": ("unsupported_format", lambda: {"chain.tif": _tiff(n_directories=12_000)}),
    "dicom that inflates on": ("unreadable", lambda: series("inflates", 37, _inflating(37))),
    "negative spacing": ("zero_spacing", lambda: series("negative", 38, PixelSpacing=[-1.0, -1.0])),
    "impossible bits": ("unreadable", lambda: series("bits", 39, HighBit=99)),
    "impossible allocation": ("unreadable", lambda: series("allocation", 40, BitsAllocated=65528)),
    "absurd size": ("too_large", lambda: {"huge.png": _saved(Image.new("1", (9000, 9000)), "PNG")}),
}
"""Each as files that may stand anywhere, also in an archive: the code, and what makes the files."""

ARCHIVES: dict[str, tuple[ErrorCode, Callable[[], Files]]] = {
    "no zip": ("corrupt_archive", lambda: {"brokenzip.zip": b"PK nothing"}),
    "truncated zip": ("corrupt_archive", lambda: {"cutzip.zip": zipped({"a.png": png()})[:-30]}),
    "password": ("password_protected", lambda: {"secret.zip": _encrypted()}),
    "zip bomb": ("archive_bomb", lambda: {"bomb.zip": zipped({"zeros.nii": bytes(80 << 20)})}),
    "traversal": ("unsafe_member", lambda: {"up.zip": zipped({"../../up.png": png()})}),
    "absolute": ("unsafe_member", lambda: {"absolute.tar": tar({"/etc/absolute.png": png()})}),
    "link": ("unsafe_member", lambda: {"link.tar": tar({}, extra=[_link()])}),
    "truncated tar": ("truncated_archive", lambda: {"cuttar.tar": tar({"a.png": png(200)})[:700]}),
    "tar with a damaged header": (
        "corrupt_archive",
        lambda: {"header.tar": _hit(tar({f"{n}.png": png() for n in range(4)}), b"2.png")},
    ),
    "tar without its end": ("truncated_archive", lambda: {"endless.tar": tar({"a.bin": bytes(512)})[:1024]}),
    "tar of an endless header": ("corrupt_archive", lambda: {"claiming.tar": _claiming_header(1 << 60)}),
    "tar of a chain of names": ("corrupt_archive", lambda: {"chain.tgz": gzip.compress(_chain(1500))}),
    "empty zip": ("no_scan", lambda: {"nothing.zip": zipped({})}),
    "archive of what is not read": (
        "no_scan",
        lambda: {"other.zip": zipped({"a.xyz": bytes(200), "b.xyz": bytes(200)})},
    ),
    "no tar": ("corrupt_archive", lambda: {"brokentar.tar": b"not a tar" * 100}),
    "corrupt tgz": (
        "corrupt_archive",
        lambda: {"brokentgz.tgz": _damaged(tar({"a.png": NOISE, "b.png": png()}, "w:gz"))},
    ),
    "archive in an archive": ("nested_archive", lambda: {"nested.zip": zipped({"inner.tar": tar({"a.png": png()})})}),
    "one name twice": ("duplicate_name", lambda: {"twice.tar": tar([("a.png", png()), ("a.png", png(60))])}),
    "name with a control character": ("bad_name", lambda: {"control.tar": tar({"a\x07.png": png()})}),
    "name that turns the text around": ("bad_name", lambda: {"turned.tar": tar({"a\u202egnp.png": png()})}),
    "zip that asks for gigabytes": ("archive_bomb", lambda: {"dictionary.zip": _dictionary(4 << 30)}),
    "name that is not UTF-8": ("bad_name", lambda: {"names.tar": tar({"\udcff\udcfe.png": png()})}),
}
"""Archives that are bad themselves, or hold what only an archive can."""
