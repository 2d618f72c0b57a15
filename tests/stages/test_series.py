"""DICOM series as studies bring them: in pieces, with strangers, copies and phases; each slice is used or named."""

import copy
import math
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from tasks.core.rows import ScanRow
from tasks.core.volumes import Grid
from tasks.engine.steps.listing import list_scans
from tasks.engine.steps.up_to_date import sort_scans
from tasks.io import ledger, storage
from tasks.io.other_files import PICTURE
from tasks.stages.segmentation_run import Run
from tests.bad_inputs import png, zipped
from tests.stages.bright import bright_run, open_and_keep, scans_of, segment
from tests.stages.series import GRID, ML, TRUTH, VOXELS, ct_slices, dose_screen, ordinary_study, rows_of, scout
from tests.volumes import enhanced, frame_order, put_series, to_bytes, to_dicom


def _shifted(slices: Sequence[Dataset], mm: float, **changes: object) -> list[Dataset]:
    """Return slices moved along z, as other instances."""
    moved = copy.deepcopy(list(slices))
    for number, dataset in enumerate(moved):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, float(z) + mm]
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID}.{number + 1}"
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
    return moved


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    "folder_of",
    [lambda n: f"pat/{n % 2}", lambda n: f"pat/{n // 10}/x", lambda n: f"pat/{n}", lambda n: "pat/a" if n else "pat/B"],
    ids=["odd and even", "halves", "a folder a slice", "one elsewhere"],
)
def test_a_series_over_several_folders_is_one_scan(
    run: Run, tmp_path: Path, folder_of: Callable[[int], str], *, is_packed: bool
) -> None:
    """Named by the folder its parts share, with the millilitres of the whole, from folders and from an archive."""
    files = {f"{folder_of(n)}/{n:03d}.dcm": to_bytes(dataset) for n, dataset in enumerate(ct_slices())}
    if is_packed:
        with zipfile.ZipFile(tmp_path / "scans" / "cd.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        for name, content in files.items():
            storage.publish(storage.join(run.request.scans_uri, name), content)
    [row] = segment(run, scans_of(run))
    assert (row.scan_id, row.status, row.n_slices) == ("cd__pat" if is_packed else "pat", "done", 20)
    assert row.lesion_ml == pytest.approx(ML)
    assert row.source_uri.endswith("cd.zip!/pat" if is_packed else "/pat")


def test_parts_that_make_no_single_scan_are_scans_with_a_warning(run: Run) -> None:
    """Two folders with one series UID, at distances that fit no grid: each is segmented, and says so."""
    first, second = ct_slices(), _shifted(ct_slices(), 61.3)
    rows = rows_of(run, {"pat/a": first, "pat/b": second})
    assert [(row.scan_id, row.status) for row in rows] == [("pat__a", "done"), ("pat__b", "done")]
    assert all("lies in 2 folders" in row.warnings[0] for row in rows)


def test_the_same_series_twice_is_one_scan(run: Run) -> None:
    """A backup of a folder: its millilitres count once, and the copies are counted."""
    [row] = rows_of(run, {"pat/a": ct_slices(), "pat/backup": ct_slices()})
    assert (row.status, row.lesion_ml) == ("done", pytest.approx(ML))
    assert "20 copies of slices left out." in row.warnings


def _night(run: Run, youngest_s: float = math.inf) -> dict[str, ScanRow]:
    """Return the table of another run that ends; what is done or rejected is in the ledger for the next one."""
    run = replace(run, request=run.request.model_copy(update={"run_id": f"{time.time_ns()}"}))
    sorted_scans = sort_scans(list_scans(run.request, open_and_keep, youngest_s, None).scans(), run, youngest_s)
    new = [*run.record_all(sorted_scans.rejected(run)), *map(run.record, segment(run, sorted_scans.due))]
    ledger.compact(run.request.output_uri)
    return {row.scan_id: row for row in [*sorted_scans.known, *new]}


def _put(run: Run, folder: str, slices: Sequence[Dataset], *, age_s: float) -> None:
    """Write slices that changed some time ago."""
    put_series(storage.join(run.request.scans_uri, folder), slices)
    changed_s = time.time() - age_s
    for path in Path(run.request.scans_uri.removeprefix("file://"), folder).iterdir():
        os.utime(path, (changed_s, changed_s))


def test_a_series_over_archives_is_segmented_in_parts_that_say_so(run: Run, tmp_path: Path) -> None:
    """Only folders are joined; the part that was done the night before says so too, until it is alone again."""
    slices = [(f"{number}.dcm", to_bytes(dataset)) for number, dataset in enumerate(ct_slices())]
    (tmp_path / "scans" / "one.zip").write_bytes(zipped(dict(slices[:12])))
    assert _night(run)["one"].warnings == []
    (tmp_path / "scans" / "two.zip").write_bytes(zipped(dict(slices[12:])))
    rows = _night(run)
    assert {row.scan_id: (row.status, row.n_slices) for row in rows.values()} == {
        "one": ("skipped", 12),
        "two": ("done", 8),
    }
    assert all("also lie in another archive" in row.warnings[0] for row in rows.values())
    found = list_scans(run.request, open_and_keep, math.inf, None)
    assert list(found.warnings()) == ["1 series over archives: the parts are scans of their own."]
    (tmp_path / "scans" / "two.zip").unlink()
    assert _night(run)["one"].warnings == []


def test_a_series_waits_for_its_folder_that_is_still_uploading(run: Run) -> None:
    """Half of it is no scan tonight, and the whole is one tomorrow; its neighbour does not wait."""
    _put(run, "pat/a", [*ct_slices()[:12], *ct_slices(SeriesInstanceUID="1.2.3.4")], age_s=4000)
    _put(run, "pat/b", ct_slices()[12:], age_s=0)
    tonight = _night(run, time.time() - 3600)
    assert sorted((row.scan_id[:6], row.status) for row in tonight.values()) == [
        ("pat__a", "deferred"),
        ("pat__a", "done"),
        ("pat__b", "deferred"),
    ]
    assert sorted((scan_id, row.n_slices) for scan_id, row in _night(run).items()) == [("pat", 20), ("pat__a", 20)]


@pytest.mark.parametrize("is_done", [False, True])
def test_no_scan_waits_for_ever_nor_leaves_the_table(run: Run, *, is_done: bool) -> None:
    """Beside slices that are added every night a finished scan stays, and another is segmented after a day."""
    _put(run, "pat/a", ct_slices()[:12], age_s=3 * 24 * 3600)
    if is_done:
        _night(run)
    _put(run, "pat/b", ct_slices()[12:13], age_s=0)
    row = _night(run, time.time() - 3600)["pat__a"]
    assert (row.status, row.n_slices) == ("skipped" if is_done else "done", 12)
    assert "may still be uploading" in row.warnings[0]


def test_archives_and_what_is_no_scan_do_not_wait(run: Run, tmp_path: Path) -> None:
    """Slices in an archive are never joined with a folder, and a scout of the same series is no slice."""
    (tmp_path / "scans" / "one.zip").write_bytes(
        zipped({f"{number}.dcm": to_bytes(dataset) for number, dataset in enumerate(ct_slices())})
    )
    os.utime(tmp_path / "scans" / "one.zip", (time.time() - 4000,) * 2)
    _put(run, "pat/a", ct_slices(series=2), age_s=4000)
    scouts = ct_slices(series=2)[:1]
    scout(scouts[0])
    _put(run, "inbox", [*ct_slices()[:3], *scouts], age_s=0)
    rows = _night(run, time.time() - 3600)
    assert {scan_id: row.status for scan_id, row in rows.items()} == {
        "one": "done",
        "pat__a": "done",
        "inbox": "deferred",
    }


@pytest.mark.parametrize("uid", ["1.2.3", "", None])
def test_slices_with_equal_or_no_instance_uid_are_told_by_their_place(run: Run, uid: str | None) -> None:
    """An anonymiser that writes one UID, none, or the same for the outermost two costs no slice."""
    slices = ct_slices()
    for number, dataset in enumerate(slices):
        dataset.SOPInstanceUID = uid if uid is not None else f"1.2.4.{number % 19}"
    [row] = rows_of(run, {"pat": slices})
    assert (row.status, row.n_slices, row.lesion_ml, row.warnings) == ("done", 20, pytest.approx(ML), [])


def _small(dataset: Dataset) -> None:
    dataset.Rows, dataset.PixelData = 20, dataset.PixelData[: 20 * 44 * 2]


def _turned(dataset: Dataset) -> None:
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def _burned(dataset: Dataset) -> None:
    dataset.BurnedInAnnotation = "YES"


def _placeless(dataset: Dataset) -> None:
    dataset.ImagePositionPatient = []


def _resent(dataset: Dataset) -> None:
    dataset.InstanceNumber = 99


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_small, "1 slice of another size, spacing or orientation left out."),
        (_turned, "1 slice of another size, spacing or orientation left out."),
        (_placeless, "1 slice of another size, spacing or orientation left out."),
        (dose_screen, "1 image of the series left out: Modality is CT, SOP class Secondary Capture Image Storage:"),
        (_burned, "1 image of the series left out: The header says that text is burned into the pixels"),
        (scout, "1 localiser left out."),
        (_resent, "1 copy of slices left out."),
    ],
)
def test_one_stranger_does_not_cost_the_series(run: Run, change: Callable[[Dataset], None], said: str) -> None:
    """It is left out with a warning, and the twenty slices are segmented as they are without it."""
    slices = ct_slices()
    stranger = copy.deepcopy(slices[7])
    stranger.SOPInstanceUID = "1.2.3.4"
    change(stranger)
    [row] = rows_of(run, {"pat": [*slices, stranger]})
    assert (row.status, row.n_slices, row.lesion_ml) == ("done", 20, pytest.approx(ML))
    assert row.warnings[0].startswith(said)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("TemporalPositionIdentifier", (1, 2)),
        ("AcquisitionNumber", (3, 4)),
        ("ConvolutionKernel", ("B31f", "B70f")),
        ("AcquisitionTime", ("101010", "101112")),
    ],
)
def test_phases_under_one_uid_are_scans_of_their_own(run: Run, keyword: str, values: tuple[object, object]) -> None:
    """Two images at each place, told apart by one tag: two whole scans, which say what tells them apart."""
    first, second = (_shifted(ct_slices(), 0, **{keyword: value}) for value in values)
    for number, dataset in enumerate(second):
        dataset.SOPInstanceUID = f"1.2.3.{number}"
    rows = rows_of(run, {"pat": [*first, *second]})
    assert [(row.status, row.n_slices, row.lesion_ml) for row in rows] == [("done", 20, pytest.approx(ML))] * 2
    assert len({row.scan_id for row in rows}) == 2
    assert all(f"told apart by {keyword}" in row.warnings[0] for row in rows)


def test_two_images_at_each_place_that_nothing_tells_apart_are_refused(run: Run) -> None:
    """Which of them belong together is not guessed."""
    second = _shifted(ct_slices(), 0)
    for dataset in second:
        dataset.PixelData = bytes(2) + dataset.PixelData[2:]
    [row] = rows_of(run, {"pat": [*ct_slices(), *second]})
    assert (row.status, row.error_code) == ("failed", "duplicate_position")


def test_a_gap_keeps_the_other_slices_in_their_places(run: Run) -> None:
    """Of a series with three slices missing the mask lies on the whole grid, empty there, without millilitres."""
    kept = [dataset for number, dataset in enumerate(ct_slices()) if number not in (5, 8, 9)]
    [row] = rows_of(run, {"pat": kept})
    mask = TRUTH.mask(GRID)
    mask[[5, 8, 9]] = 0
    assert (row.status, row.n_slices, row.lesion_ml, row.lung_ml) == ("done", 17, None, None)
    assert row.lesion_voxels == mask.sum()
    assert row.warnings[0].startswith("3 of 20 slices are missing")


def test_a_single_slice_is_segmented_in_its_pixels(run: Run) -> None:
    """It has a place and a spacing in its plane, and no distance to others: no millilitres."""
    [row] = rows_of(run, {"pat": ct_slices()[9:10]})
    assert (row.status, row.n_slices, row.lesion_ml) == ("done", 1, None)
    assert row.lesion_voxels == TRUTH.mask(GRID)[9].sum()
    assert row.warnings == ["The scan is a single slice; no volume is given in millilitres."]


def test_images_at_one_place_are_no_scan(run: Run) -> None:
    """Bolus tracking repeats one slice at many times; each is no scan of its own, and all together are none."""
    slices = [copy.deepcopy(ct_slices()[9]) for _ in range(8)]
    for number, dataset in enumerate(slices):
        dataset.SOPInstanceUID, dataset.AcquisitionTime = f"1.2.3.{number}", f"10100{number}"
        dataset.PixelData = bytes([number, 4]) + dataset.PixelData[2:]
    [row] = rows_of(run, {"pat": slices})
    assert (row.status, row.error_code) == ("failed", "duplicate_position")


def test_an_ordinary_study_has_no_failure(run: Run) -> None:
    """Beside the series scouts, a dose screen, reports, structures and a projection: counted by series, none failed."""
    rows = rows_of(run, ordinary_study())
    assert {row.scan_id: row.error_code for row in rows} == {
        "CT": None,
        "dose_report": "not_ct",
        "dose_screen": "not_ct",
        "presentation_state": "not_ct",
        "projection": "not_hu",
        "scout": "localiser_only",
        "segmentation": "not_ct",
        "structures": "not_ct",
    }
    assert {row.status for row in rows if row.error_code} == {"not_a_scan"}


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("is_packed", [False, True])
def test_pictures_of_a_patient_disc_are_left_alone(tmp_path: Path, *, is_packed: bool, asked: bool) -> None:
    """Below a DICOMDIR and beside slices they are a viewer's; elsewhere, beside a series folder, they are scans."""
    files = {f"cd/IMAGES/CT/{n}.dcm": to_bytes(dataset) for n, dataset in enumerate(ct_slices())}
    files |= {f"plain/{n}.dcm": to_bytes(dataset) for n, dataset in enumerate(ct_slices(series=2))}
    files |= {"cd/DICOMDIR": bytes(300), "cd/viewer/logo.png": png(), "cd/splash.jpg": png(), "cd/anim.gif": bytes(300)}
    files |= {"plain/thumb.png": png(), "slice.png": png(), "ward/slice.png": png()}
    scans = tmp_path / "scans"
    for name, content in ({"night.zip": zipped(files)} if is_packed else files).items():
        storage.publish(str(scans / name), content)
    run = bright_run(scans.as_uri(), (tmp_path / "output").as_uri(), pictures_beside_dicom=asked)
    found = list_scans(run.request, open_and_keep, math.inf, None)
    status = {row.scan_id.removeprefix("night__"): row.status for row in segment(run, found.scans())}
    expected = dict.fromkeys(("cd__IMAGES__CT", "plain", "slice", "ward__slice"), "done")
    if asked:
        expected |= dict.fromkeys(("cd__viewer__logo", "cd__splash", "plain__thumb"), "done") | {"cd__anim": "failed"}
    assert status == expected
    assert found.n_ignored[PICTURE] == (0 if asked else 4)


def test_one_series_uid_in_two_studies_is_two_scans(run: Run) -> None:
    """An anonymiser that gives every patient the same series UID joins no two patients."""
    second = _shifted(ct_slices(), 60, StudyInstanceUID="1.2.3.99")
    rows = rows_of(run, {"pat1": ct_slices(), "pat2": second})
    assert [(row.scan_id, row.status, row.n_slices) for row in rows] == [("pat1", "done", 20), ("pat2", "done", 20)]


def test_a_damaged_copy_does_not_cost_the_series(run: Run) -> None:
    """A file of which only the pixels are cut short is left out, because another shows the slice whole."""
    storage.publish(storage.join(run.request.scans_uri, "pat/copy.dcm"), to_bytes(ct_slices()[7])[:-900])
    [row] = rows_of(run, {"pat": ct_slices()})
    assert (row.status, row.n_slices, row.lesion_ml) == ("done", 20, pytest.approx(ML))
    assert row.warnings == ["1 damaged file left out; another shows the same slice."]


@pytest.mark.parametrize("n_frames", [-1, -5])
def test_a_file_of_no_frames_is_a_row(run: Run, n_frames: int) -> None:
    """A header that claims a negative number of frames neither vanishes nor ends the run."""
    odd = ct_slices(series=7, NumberOfFrames=n_frames)[:1]
    rows = rows_of(run, {"pat": ct_slices(), "odd": odd})
    assert [(row.scan_id, row.status, row.error_code) for row in rows] == [
        ("odd", "failed", "unreadable"),
        ("pat", "done", None),
    ]


def test_a_slice_beside_its_report_is_segmented(run: Run) -> None:
    """One CT slice and two reports under one series UID: what is no image outvotes none."""
    reports = [copy.deepcopy(ct_slices()[0]) for _ in range(2)]
    for number, dataset in enumerate(reports):
        dataset.SOPInstanceUID = f"1.2.3.{number}"
        dataset.Modality, dataset.SOPClassUID = "SR", "1.2.840.10008.5.1.4.1.1.88.67"
    [row] = rows_of(run, {"pat": [ct_slices()[9], *reports]})
    assert (row.status, row.n_slices) == ("done", 1)
    assert row.warnings[0].startswith("2 images of the series left out")


def test_slices_in_a_folder_each_that_lie_on_no_grid_are_one_refusal(run: Run) -> None:
    """They are not twenty scans of one slice."""
    slices = ct_slices()
    slices[9].ImagePositionPatient = [
        *slices[9].ImagePositionPatient[:2],
        float(slices[9].ImagePositionPatient[2]) + 1.2,
    ]
    [row] = rows_of(run, {f"pat/{number}": [dataset] for number, dataset in enumerate(slices)})
    assert (row.scan_id, row.error_code) == ("pat", "unequal_spacing")


def test_a_file_beside_a_scan_does_not_change_its_id(run: Run, tmp_path: Path) -> None:
    """A neighbour of the same name in a format that is not read gets the hash, so that nothing is done twice."""
    (tmp_path / "scans" / "p1.png").write_bytes(png())
    for suffix in (".npy", ".gif", ".mat"):
        (tmp_path / "scans" / f"p1{suffix}").write_bytes(bytes(300))
    ids = {row.scan_id: row.status for row in segment(run, scans_of(run))}
    assert ids["p1"] == "done"
    assert list(ids.values()).count("failed") == 3


def test_more_orientations_than_a_scan_has_are_refused(run: Run) -> None:
    """A radial reformat of eighty planes is no volume, and none of its planes is laid on the grid of another."""
    slices = to_dicom(np.repeat(VOXELS, 4, axis=0), Grid((80, 40, 44), GRID.affine))
    for number, dataset in enumerate(slices):
        angle = np.radians(2 * number)
        dataset.ImageOrientationPatient = [float(np.cos(angle)), float(np.sin(angle)), 0, 0, 0, -1]
    [row] = rows_of(run, {"pat": slices})
    assert (row.status, row.error_code) == ("failed", "mixed_geometry")


def test_phases_in_one_file_are_scans_of_their_own(tmp_path: Path) -> None:
    """Frames of an Enhanced CT told apart by their temporal position; what cannot be written of a part is named."""
    dataset = enhanced([*ct_slices(), *ct_slices()])
    for number, group in zip(frame_order(40), dataset.PerFrameFunctionalGroupsSequence, strict=True):
        content = Dataset()
        content.TemporalPositionIndex = 1 + number // 20
        group.FrameContentSequence = DicomSequence([content])
    put_series(str(tmp_path / "scans" / "pat"), [dataset])
    run = bright_run((tmp_path / "scans").as_uri(), (tmp_path / "output").as_uri(), dicom_seg=True)
    rows = list(segment(run, scans_of(run)))
    assert [(row.status, row.n_slices, row.lesion_ml) for row in rows] == [("done", 20, pytest.approx(ML))] * 2
    assert all("Not made: DICOM-SEG: only a part of the file's frames" in row.warnings[-1] for row in rows)
