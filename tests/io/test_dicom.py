"""DICOM files: every transfer syntax gives the voxels of its uncompressed twin, multi-frame or not."""

import io
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tasks.core.errors import DataError
from tasks.io.formats.dicom import HEADER_BYTES, is_dicom, read_frames, read_header
from tests.volumes import Truth, enhanced, frame_order, grid_around, to_bytes, to_dicom

TRUTH = Truth()
GRID = grid_around(TRUTH, (12, 64, 72), (3.0, 1.0, 1.0), np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])
VOXELS = TRUTH.voxels(GRID)


def _slice() -> Dataset:
    return to_dicom(VOXELS, GRID)[5]


def _written(syntax: str) -> bytes:
    dataset = _slice()
    dataset.file_meta.TransferSyntaxUID = syntax
    return to_bytes(dataset)


def _compressed(syntax: str) -> bytes:
    dataset = _slice()
    dataset.compress(syntax)
    return to_bytes(dataset)


def _jpeg_lossless() -> bytes:
    """Return a slice in JPEG Lossless SV1, which only GDCM writes."""
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder, "plain.dcm"), Path(folder, "packed.dcm")
        plain.write_bytes(to_bytes(_slice()))
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return packed.read_bytes()


LOSSLESS: dict[str, Callable[[], bytes]] = {
    "implicit": lambda: _written(ImplicitVRLittleEndian),
    "explicit": lambda: _written(ExplicitVRLittleEndian),
    "deflated": lambda: _written(DeflatedExplicitVRLittleEndian),
    "RLE": lambda: _compressed(RLELossless),
    "JPEG-LS": lambda: _compressed(JPEGLSLossless),
    "JPEG 2000": lambda: _compressed(JPEG2000Lossless),
    "JPEG Lossless SV1": _jpeg_lossless,
}


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_compressed_slice_has_the_voxels_of_its_plain_twin(syntax: str) -> None:
    """Whatever the transfer syntax, the Hounsfield units are those that were written, to the last."""
    content = LOSSLESS[syntax]()
    assert is_dicom(content)
    assert read_header(content).refused is None
    np.testing.assert_array_equal(read_frames(content, [0])[0], VOXELS[5])


def test_a_baseline_jpeg_has_the_voxels_that_pillow_sees() -> None:
    """Lossy 8-bit JPEG: what another decoder makes of the same stream, through slope and intercept."""
    grey = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=90)
    dataset = _slice()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.Rows = dataset.Columns = 64
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.RescaleSlope, dataset.RescaleIntercept = 4, -1000
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset["PixelData"].VR = "OB"
    expected = np.asarray(Image.open(buffer)).astype(np.float32) * 4 - 1000
    np.testing.assert_array_equal(read_frames(to_bytes(dataset), [0])[0], expected)


def test_frames_of_an_enhanced_file_have_their_own_positions() -> None:
    """A multi-frame file gives a plane a frame, from its functional groups, and its frames in Hounsfield units."""
    content = to_bytes(enhanced(to_dicom(VOXELS, GRID)))
    header = read_header(content)
    assert header.refused is None
    assert len(header.slices) == len(VOXELS)
    second = frame_order(len(VOXELS))[1]
    assert header.slices[1].plane.position == pytest.approx(to_dicom(VOXELS, GRID)[second].ImagePositionPatient)
    np.testing.assert_array_equal(read_frames(content, [1, 0]), VOXELS[[second, 0]])


def test_a_header_is_read_from_the_first_bytes_and_names_nobody() -> None:
    """Only the allow-list is parsed; what names a person is not in the header's record."""
    dataset = _slice()
    assert str(dataset.PatientName) == "Secret^Name"
    header = read_header(to_bytes(dataset)[:4096])
    assert "Secret" not in repr(header)
    assert header.slices[0].plane.shape == (64, 72)
    assert isinstance(pydicom.dcmread(io.BytesIO(to_bytes(dataset))).Rows, int)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # of pydicom, which is made to write them here
@pytest.mark.parametrize(
    ("modality", "sop_class", "said"),
    [
        ("MR", "1.2.840.10008.5.1.4.1.1.4", "Modality is MR, SOP class MR Image Storage: no CT image."),
        ("", "", "Modality is missing, SOP class missing: no CT image."),
        (
            "MUELLER HANS",
            "1.2.3.4.5",
            "Modality is an unknown Modality of 12 characters, SOP class an unknown UID of",
        ),
        ("<b>CT</b>", "<img src=x>", "Modality is an unknown Modality of 9 characters, SOP class an unknown UID of 11"),
    ],
)
def test_a_header_that_is_refused_is_not_quoted(modality: str, sop_class: str, said: str) -> None:
    """Of Modality and SOP class only the standard's own values are repeated: others may be a name, or markup."""
    dataset = _slice()
    with pydicom.config.disable_value_validation():
        dataset.Modality, dataset.SOPClassUID = modality, sop_class
        refused = read_header(to_bytes(dataset)).refused
    assert refused is not None
    assert refused[0] == "not_ct"
    assert refused[1].startswith(said)


def test_a_deflated_file_is_inflated_to_what_its_header_claims() -> None:
    """Pixels that inflate to 64 MiB where the header claims some KiB are refused before a tenth of it is held."""
    dataset = _slice()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.PixelData += bytes(64 << 20)
    content = to_bytes(dataset)
    tracemalloc.start()
    assert read_header(content[:HEADER_BYTES], is_whole=False).refused is None
    with pytest.raises(DataError, match="inflates to more"):
        read_frames(content, [0])
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()
