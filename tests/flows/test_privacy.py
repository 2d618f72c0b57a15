"""Nobody's name leaves a collection: not from headers, and with a key not from files, folders or members either."""

import asyncio
import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import ray
import SimpleITK
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.sorting import FlowRunSort
from prefect.logging.handlers import APILogWorker
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from flows.names import names
from flows.segment_scans import segment_scans
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.errors import ConfigError, IncompleteError
from tasks.core.rows import ScanRow
from tasks.io import storage
from tasks.io.pseudonyms import KEY_VARIABLE
from tasks.io.tables import from_parquet
from tests.bad_inputs import GRID, VOXELS, tar
from tests.volumes import to_bytes, to_dicom

pytestmark = [
    pytest.mark.ray,
    pytest.mark.server,
    pytest.mark.usefixtures("ray_session", "prefect_server", "bright_step"),
]

IN_HEADERS, IN_NAMES = b"zyxwina", b"qoxrich"
"""Two people who are to be found nowhere."""

HEADER_TEXT, NAME_TEXT = IN_HEADERS.decode().upper(), IN_NAMES.decode().capitalize()
TEXT_VRS = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UT")
STRUCTURAL = {
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("ConcatenationUID", "LossyImageCompressionMethod", "RescaleType", "SpecificCharacterSet"),
}
"""Text that says how a file is read, and no more."""


def _series(*, is_broken: bool = False, modality: str = "CT", unit: str = "HU") -> dict[str, bytes]:
    """Return a series with a name in every text tag and a private one; a broken one in a number, too."""
    keywords = [
        entry[4] for tag, entry in DicomDictionary.items() if entry[0] in TEXT_VRS and tag >> 16 > 2 and entry[4]
    ]
    slices = to_dicom(VOXELS, GRID, series=2 + is_broken + 2 * (modality != "CT") + 4 * (unit != "HU"))
    for dataset in slices:
        dataset.Modality = modality
        dataset.RescaleType = unit
    with pydicom.config.disable_value_validation():
        return _named(slices, keywords, is_broken=is_broken)


def _named(slices: list[Dataset], keywords: list[str], *, is_broken: bool) -> dict[str, bytes]:
    for dataset in slices:
        for keyword in keywords:
            if keyword not in STRUCTURAL and keyword not in dataset:
                setattr(dataset, keyword, HEADER_TEXT)
        dataset.PatientName, dataset.PatientID = HEADER_TEXT, HEADER_TEXT
        block = dataset.private_block(0x0099, HEADER_TEXT, create=True)
        block.add_new(1, "LO", HEADER_TEXT)
    contents = {f"{NAME_TEXT}_{number}.dcm": to_bytes(dataset) for number, dataset in enumerate(slices)}
    if is_broken:  # a number that is none: whoever reads it is tempted to quote it
        contents = {name: content.replace(b"-1024", HEADER_TEXT[:5].encode()) for name, content in contents.items()}
    return contents


def _nifti() -> bytes:
    image = nib.Nifti1Image(VOXELS, GRID.affine)
    for key in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[key] = HEADER_TEXT
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", HEADER_TEXT.encode()))
    return gzip.compress(image.to_bytes())


def _png() -> bytes:
    said, buffer = PngInfo(), io.BytesIO()
    said.add_text("Author", HEADER_TEXT)
    Image.fromarray((np.arange(1600) % 251).astype(np.uint8).reshape(40, 40)).save(buffer, "PNG", pnginfo=said)
    return buffer.getvalue()


def _nrrd(path: Path) -> bytes:
    image = SimpleITK.GetImageFromArray(VOXELS)
    image.SetMetaData("patient", HEADER_TEXT)
    SimpleITK.WriteImage(image, str(path))
    return path.read_bytes()


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = NAME_TEXT.encode()
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans good and bad with names wherever a name fits, loose, zipped and in a tar.gz."""
    folder = tmp_path_factory.mktemp("study")
    n = NAME_TEXT
    files = {
        **{f"{n}/ct/{name}": content for name, content in _series().items()},
        **{f"{n}/broken/{name}": content for name, content in _series(is_broken=True).items()},
        **{f"{n}/other/{name}": content for name, content in _series(modality=HEADER_TEXT).items()},
        **{f"{n}/unit/{name}": content for name, content in _series(unit=HEADER_TEXT[:16]).items()},
        f"{n}/{n}.nii.gz": _nifti(),
        f"{n}/{n}.nrrd": _nrrd(tmp_path_factory.mktemp("itk") / "a.nrrd"),
        f"{n}/{n}.png": _png(),
        f"{n}/{n}_cut.png": _png()[:90],
        f"{n}/{n}_text.dcm": n.encode() * 100,
        f"{n}/{n}_empty.nii.gz": b"",
        f"{n}/{n}.txt": n.encode(),
        f"{n}/notes.{n}": n.encode(),
    }
    packed = {f"{n}.zip": _zip(files | {f"../{n}.png": _png()}), f"{n}.tar.gz": tar(files, "w:gz")}
    packed |= {f"{n}_cut.zip": packed[f"{n}.zip"][:-99], f"{n}_cut.tgz": packed[f"{n}.tar.gz"][:-5000]}
    for path, content in (files | packed).items():
        storage.publish(str(folder / path), content)
    return folder


def _read(path: Path) -> bytes:
    """Return what a file says to someone who unpacks it."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(content)
    if path.name == "scans.parquet":
        return repr(from_parquet(ScanRow, content)).encode()
    return content


async def _prefect_records(n_runs: int) -> str:
    """Return everything Prefect's server knows of the newest flow runs."""
    async with get_client() as client:
        runs = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=n_runs)
        ids = [run.id for run in runs]
        known = FlowRunFilter(id=FlowRunFilterId(any_=ids))
        tasks, artifacts = (
            await client.read_task_runs(flow_run_filter=known),
            await client.read_artifacts(flow_run_filter=known),
        )
        logs = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=ids)))
    assert all([runs, tasks, artifacts, logs])
    return repr([runs, tasks, artifacts, logs])


def _places(output: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what was written anywhere, and where."""
    for path in output.rglob("*"):
        yield str(path.relative_to(output)), str(path.relative_to(output)).encode()
        if path.is_file():
            yield str(path.relative_to(output)), _read(path)
    APILogWorker.drain_all(timeout=10)
    yield "Prefect", asyncio.run(_prefect_records(n_runs=2)).encode()
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    for path in logs.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()


@pytest.mark.parametrize("hash_ids", [False, True])
def test_no_name_of_a_study_is_found_anywhere(
    bright_bundle: str,
    study: Path,
    tmp_path: Path,
    hash_ids: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No header's text in outputs, logs, Prefect's or Ray's records; with a key no file's or member's name either."""
    monkeypatch.setenv(KEY_VARIABLE, "correct horse battery staple")
    asked = SegmentationConfig(settle_minutes=0, hash_ids=hash_ids, dicom_seg=True)
    with pytest.raises(IncompleteError) as caught:
        segment_scans(bright_bundle, str(study), str(tmp_path), segmentation=asked)
    segment_scans(bright_bundle, str(study), str(tmp_path), segmentation=asked, dry_run=True)
    rows = from_parquet(ScanRow, (tmp_path / "scans.parquet").read_bytes())
    assert sum(row.status == "done" for row in rows) >= 12
    assert sum(row.status in ("failed", "not_a_scan") for row in rows) >= 19  # and what the cut .tgz still holds
    assert len(list((tmp_path / "masks").glob("*.dcm"))) >= 3
    said = [
        ("error", str(caught.value).encode()),
        ("logs", caplog.text.encode()),
        ("output", repr(capfd.readouterr()).encode()),
    ]
    outputs = [*said, *_places(tmp_path)]
    nowhere = [IN_HEADERS, IN_HEADERS[:5]] + [IN_NAMES] * hash_ids
    found = {(where, name) for where, content in outputs for name in nowhere if name in content.lower()}
    assert not found


def test_whoever_has_the_key_finds_the_scan_behind_an_id(
    bright_bundle: str, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lesions names` answers with the key, and only with it; a second run finds the ids and indexes of the first."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    storage.publish(str(scans / "a.png"), _png())
    storage.publish(str(scans / "b.zip"), _zip({"c/d.png": _png()}))
    asked = SegmentationConfig(settle_minutes=0, hash_ids=True)
    for counted in ("done", "skipped"):
        monkeypatch.setenv(KEY_VARIABLE, "correct horse battery staple")
        handle = segment_scans(bright_bundle, str(scans), str(output), segmentation=asked)
        assert handle.counts[counted] == 2
    told = names(str(output))
    assert sorted(told.values()) == [f"file://{scans}/a.png", f"file://{scans}/b.zip!/c/d.png"]
    assert {f"{scan_id}.png" for scan_id in told} == {path.name for path in (output / "masks").iterdir()}
    monkeypatch.setenv(KEY_VARIABLE, "another horse, another staple")
    for call in (
        lambda: names(str(output)),
        lambda: segment_scans(bright_bundle, str(scans), str(output), segmentation=asked),
        lambda: segment_scans(bright_bundle, str(scans), str(output), segmentation=asked, dry_run=True),
    ):
        with pytest.raises(ConfigError, match="another LESIONS_ID_KEY"):
            call()
    with pytest.raises(ConfigError, match="named the other way"):
        segment_scans(bright_bundle, str(scans), str(output), segmentation=SegmentationConfig(settle_minutes=0))
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(ConfigError, match="openssl"):
        segment_scans(bright_bundle, str(scans), str(tmp_path / "new"), segmentation=asked)
