"""The segmentation step, over a stand-in for a model: what is done, what is done again, and what is refused."""

import hashlib
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.core.appearance import appearance_of
from tasks.core.config.intensity import HuConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.drift import appearance_of_training
from tasks.core.errors import ConfigError, IncompleteError
from tasks.core.flags import FlagLimits
from tasks.core.geometry import resize_slice
from tasks.core.handles import SegmentationHandle, SegmentationPlan
from tasks.core.rows import LedgerEntry, ScanRow
from tasks.core.schemas import SegmentationManifest
from tasks.core.step_inputs import SegmentRequest
from tasks.engine.steps.plan import plan
from tasks.io import ledger, storage
from tasks.io.outputs import segmentations
from tasks.io.tables import from_parquet
from tests.anatomy import anatomy
from tests.bad_inputs import tar
from tests.conftest import SIZE_PX
from tests.core.samples import QUALITY
from tests.engine.bright_bundle import publish_bright_bundle, segment_bright

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def _request(bundle: str, scans: Path, output: Path, **asked: object) -> SegmentRequest:
    """Return what a run is asked; nothing is too young unless that is asked."""
    return SegmentRequest(
        model_uri=bundle,
        scans_uri=scans.as_uri(),
        output_uri=output.as_uri(),
        segmentation=SegmentationConfig.model_validate({"settle_minutes": 0} | asked),
        run_id=f"{time.time_ns()}",
    )


def _segment(bundle: str, scans: Path, output: Path, **asked: object) -> SegmentationHandle:
    return segment_bright(_request(bundle, scans, output, **asked))


def _plan(bundle: str, scans: Path, output: Path, **asked: object) -> SegmentationPlan:
    return plan(_request(bundle, scans, output, **asked))


def _rows(output: Path) -> dict[str, ScanRow]:
    return {row.scan_id: row for row in from_parquet(ScanRow, storage.read_bytes(f"{output}/scans.parquet"))}


def _digests(output: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (output / "masks").iterdir()}


def test_every_scan_gets_a_mask_of_its_own_size(bright_bundle: str, new_scans: Path, tmp_path: Path) -> None:
    """Each scan has a 0/255 mask in its own grid, a preview, and a row whose figures are the mask's."""
    handle = _segment(bright_bundle, new_scans, tmp_path)
    assert handle.counts == {"done": 6, "skipped": 0, "deferred": 0, "failed": 0, "not_a_scan": 0}
    for scan_id, row in _rows(tmp_path).items():
        mask = np.asarray(Image.open(tmp_path / "masks" / f"{scan_id}.png"))
        assert mask.shape == (96, 96)
        assert set(np.unique(mask)) <= {0, 255}
        assert row.lesion_voxels == np.count_nonzero(mask)
        assert row.mask_sha256 == hashlib.sha256((tmp_path / "masks" / f"{scan_id}.png").read_bytes()).hexdigest()
        assert (tmp_path / "previews" / f"{scan_id}.png").exists()
        assert row.lesion_ml is None  # a PNG has no spacing, and none is guessed
    assert (tmp_path / "manifest.json").exists()


def _write_slices(folder: Path, patients: range, *, inverted: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for patient in patients:
        image = anatomy(patient, 0, size_px=96)
        name = f"{'inverted' if inverted else 'usual'}_{patient}.png"
        Image.fromarray(255 - image if inverted else image).save(folder / name)


@pytest.fixture(scope="module")
def bundle_with_appearance(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle whose training slices are those of forty patients."""
    images = [resize_slice(anatomy(patient, 0, size_px=96), SIZE_PX) for patient in range(40)]
    appearance = appearance_of_training(
        np.array([appearance_of(image) for image in images]),
        patients=[str(patient) for patient in range(40)],
        sources=["anatomy"] * 40,
    )
    return publish_bright_bundle(tmp_path_factory.mktemp("seen"), appearance=appearance, quality=(QUALITY,))


def test_scans_unlike_the_training_data_are_flagged_and_the_collection_is_warned_of(
    bundle_with_appearance: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Inverted slices score above 1; report, manifest and log have the figures; the run is green all the same."""
    _write_slices(tmp_path / "scans", range(50, 56), inverted=False)
    _write_slices(tmp_path / "scans", range(50, 56), inverted=True)
    handle = _segment(bundle_with_appearance, tmp_path / "scans", tmp_path / "output")
    assert (handle.counts["done"], handle.n_new_failures) == (12, 0)
    rows = _rows(tmp_path / "output").values()
    assert all(row.drift_score is not None for row in rows)
    foreign = {row.scan_id for row in rows if "out_of_domain" in row.flags}
    assert {row.scan_id for row in rows if row.drift_score > 1} == foreign
    assert {f"inverted_{patient}" for patient in range(50, 56)} <= foreign
    assert len(foreign) <= 8
    manifest = SegmentationManifest.model_validate_json((tmp_path / "output" / "manifest.json").read_bytes())
    assert manifest.hu == HuConfig()  # of the bundle: the viewer begins with its window
    assert manifest.drift is not None
    assert (manifest.drift.n_scans, manifest.drift.n_foreign) == (12, len(foreign))
    [warning] = [text for text in manifest.warnings if text.startswith("drift: ")]
    assert f"{len(foreign)} of 12 scans look unlike the training data" in warning
    assert warning in caplog.text
    page = (tmp_path / "output" / "report.html").read_text()
    assert warning in page
    assert f'<span class="number">{len(foreign)}</span><span class="label">Unlike training data</span>' in page
    again = _segment(bundle_with_appearance, tmp_path / "scans", tmp_path / "output")
    assert again.counts["skipped"] == 12
    assert {row.scan_id for row in _rows(tmp_path / "output").values() if "out_of_domain" in row.flags} == foreign


def test_every_mask_has_an_expected_quality_where_the_bundle_is_calibrated(
    bundle_with_appearance: str, new_scans: Path, tmp_path: Path
) -> None:
    """Within its interval; 0 for empty masks, which are not flagged for it; the report has the median."""
    shutil.copytree(new_scans, tmp_path / "scans")
    dark = np.full((96, 96), 20, np.uint8)
    dark[30:60, 30:60] = 60
    Image.fromarray(dark).save(tmp_path / "scans" / "dark.png")
    _segment(bundle_with_appearance, tmp_path / "scans", tmp_path / "output")
    rows = _rows(tmp_path / "output")
    with_lesion = {scan_id for scan_id, row in rows.items() if row.n_lesions}
    assert with_lesion
    for scan_id, row in rows.items():
        if scan_id in with_lesion:
            assert 0 <= row.quality_low <= row.quality <= row.quality_high <= 1
            assert ("low_quality" in row.flags) == (row.quality < FlagLimits().min_quality)
        else:
            assert (row.quality, row.quality_low, row.quality_high) == (0, 0, 0)
            assert "low_quality" not in row.flags
    assert not rows["dark"].n_lesions
    page = (tmp_path / "output" / "report.html").read_text()
    assert re.search(rf"<b>Expected Dice</b>, {len(with_lesion)} scans, median 0\.\d", page)


def test_scans_like_the_training_data_leave_nothing_to_say(bundle_with_appearance: str, tmp_path: Path) -> None:
    """No warning, and few flags."""
    _write_slices(tmp_path / "scans", range(60, 70), inverted=False)
    _segment(bundle_with_appearance, tmp_path / "scans", tmp_path / "output")
    manifest = SegmentationManifest.model_validate_json((tmp_path / "output" / "manifest.json").read_bytes())
    assert manifest.drift is not None
    assert manifest.drift.n_foreign <= 2
    assert manifest.drift.median < 1
    assert not [text for text in manifest.warnings if text.startswith("drift: ")]


def test_a_bundle_without_appearance_still_segments(bright_bundle: str, new_scans: Path, tmp_path: Path) -> None:
    """The columns are null, and the report says why."""
    _segment(bright_bundle, new_scans, tmp_path)
    for row in _rows(tmp_path).values():
        assert (row.drift_score, row.quality, row.quality_low, row.quality_high) == (None,) * 4
    assert (
        "The quality of masks was not estimated: the bundle holds no calibration"
        in (tmp_path / "report.html").read_text()
    )
    assert "Drift was not measured: the bundle holds no appearance" in (tmp_path / "report.html").read_text()


def test_second_run_skips_what_is_finished(bright_bundle: str, new_scans: Path, tmp_path: Path) -> None:
    """A finished scan is not done again, unless its mask was touched, its source changed, or force is set."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    shutil.copytree(new_scans, scans)

    assert _segment(bright_bundle, scans, output).counts["done"] == 6
    before = _digests(output)
    assert _segment(bright_bundle, scans, output).counts == {
        "done": 0,
        "skipped": 6,
        "deferred": 0,
        "failed": 0,
        "not_a_scan": 0,
    }
    (output / "masks" / "phantom_050_1.png").write_bytes(b"damaged")
    shutil.copy(scans / "phantom_050_0.png", scans / "phantom_050_5.png")
    assert _segment(bright_bundle, scans, output).counts == {
        "done": 2,
        "skipped": 4,
        "deferred": 0,
        "failed": 0,
        "not_a_scan": 0,
    }
    assert _digests(output) == before | {"phantom_050_5.png": before["phantom_050_0.png"]}
    for other in ({"force": True}, {"threshold": 0.9}):  # other parameters are other work
        assert len(_plan(bright_bundle, scans, output, **other).due) == 6


def test_dry_run_says_what_would_be_done_and_writes_nothing(
    bright_bundle: str, new_scans: Path, tmp_path: Path
) -> None:
    """A dry run counts what is due and what is not, names scans, and leaves the output as it is."""
    output = tmp_path / "output"
    plan = _plan(bright_bundle, new_scans, output)
    assert len(plan.due) == 6
    assert "6 scans would be segmented (phantom_050_0, phantom_050_1, phantom_050_2, …)" in plan.sentence()
    assert not output.exists()
    waiting = _plan(bright_bundle, new_scans, output, settle_minutes=30)
    assert waiting.sentence() == "0 scans would be segmented; 6 perhaps still uploading."


def test_dry_run_estimates_time_and_cost_at_the_rate_of_the_last_run(
    bright_bundle: str, new_scans: Path, tmp_path: Path
) -> None:
    """Scans due over scans per hour of the manifest, times nodes and price; unknown without an earlier run."""
    assert "about" not in _plan(bright_bundle, new_scans, tmp_path, force=True).sentence()
    _segment(bright_bundle, new_scans, tmp_path)
    speed = segmentations.find_manifest(str(tmp_path)).speed
    request = _request(bright_bundle, new_scans, tmp_path, force=True)
    found = plan(request.model_copy(update={"price_per_node_hour": 3600.0}))
    assert found.estimated_seconds == pytest.approx(6 / speed.scans_per_hour * 3600)
    assert found.estimated_cost == pytest.approx(found.estimated_seconds * speed.n_nodes)
    assert found.sentence().endswith(f", for about {found.estimated_cost:.2f}.")
    assert plan(request).estimated_cost is None


def test_corrupt_slice_is_named_and_what_a_killed_run_left_is_reported(
    bright_bundle: str, new_scans: Path, tmp_path: Path
) -> None:
    """A truncated slice leaves the others done and the run not green, also where the run that found it was killed."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    shutil.copytree(new_scans, scans)
    bad = scans / "phantom_050_2.png"
    bad.write_bytes(bad.read_bytes()[:300])
    assert _segment(bright_bundle, scans, output).n_new_failures == 1
    assert _rows(output)["phantom_050_2"].error_code == "unreadable"
    assert sum(row.status == "done" for row in _rows(output).values()) == 5
    assert "phantom_050_2" in (output / "report.html").read_text()
    [table] = (output / "ledger").glob("*.parquet")
    entries = from_parquet(LedgerEntry, table.read_bytes())
    table.unlink()
    for entry in entries[:4]:  # as if killed before the others, and before it could report
        ledger.record(str(output), ScanRow.model_validate(entry.model_dump()), table.stem)
    recorded = {entry.scan_id for entry in entries[:4]}
    assert "phantom_050_2" in recorded
    before = {path.stem: path.stat().st_mtime_ns for path in (output / "masks").iterdir()}
    assert _segment(bright_bundle, scans, output).n_new_failures == 1
    after = {path.stem: path.stat().st_mtime_ns for path in (output / "masks").iterdir()}
    assert {scan_id for scan_id in before if before[scan_id] == after[scan_id]} == recorded - {"phantom_050_2"}
    assert {row.status for row in _rows(output).values()} == {"done", "failed"}
    handle = _segment(bright_bundle, scans, output)
    assert handle.counts == {"done": 0, "skipped": 5, "deferred": 0, "failed": 1, "not_a_scan": 0}


def test_a_runs_word_on_flips_reaches_the_model(bright_bundle: str, new_scans: Path, tmp_path: Path) -> None:
    """With and without them, whatever the bundle does, masks are other ones, and the manifest says which."""
    masks = {}
    for flips in (False, True):
        output = tmp_path / str(flips)
        _segment(bright_bundle, new_scans, output, test_time_flips=flips)
        manifest = SegmentationManifest.model_validate_json((output / "manifest.json").read_text())
        assert (manifest.test_time_flips, manifest.n_predictions) == (flips, 4 if flips else 1)
        masks[flips] = _digests(output)
    assert masks[False] != masks[True]


def _all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_without_scans_is_green_only_if_none_were_lost(
    bright_bundle: str, new_scans: Path, tmp_path: Path
) -> None:
    """Unread volumes or an empty mount end a run not green and leave table and masks; markers alone do not."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    scans.mkdir()
    (scans / "volume.xyz").write_bytes(b"NDims = 3" + bytes(200))
    with pytest.raises(IncompleteError, match=r"1 of which could be scans, and took none: 1 other file"):
        _segment(bright_bundle, scans, output)
    assert not (output / "scans.parquet").exists()
    _segment(bright_bundle, new_scans, output)
    before = _all_bytes(output)
    for left in (["volume.xyz"], []):
        for path in scans.iterdir():
            if path.name not in left:
                path.unlink()
        with pytest.raises(IncompleteError, match="What was published before stays"):
            _segment(bright_bundle, scans, output)
    (scans / "other.tar").write_bytes(tar({"volume.xyz": b"NDims = 3" + bytes(200)}))
    with pytest.raises(IncompleteError, match="What was published before stays"):
        _segment(bright_bundle, scans, output)
    after = _all_bytes(output)
    assert {path: after[path] for path in before} == before
    (scans / "other.tar").unlink()
    (scans / "_SUCCESS").touch()
    assert _segment(bright_bundle, scans, output).n_new_failures == 0
    assert len(_rows(output)) == 6


def test_scans_that_do_not_exist_leave_no_output(bright_bundle: str, tmp_path: Path) -> None:
    """A misspelt address is refused before anything is written."""
    with pytest.raises(ConfigError, match="Nothing exists at"):
        _segment(bright_bundle, tmp_path / "nowhere", tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_young_objects_are_left_for_the_next_run(
    bright_bundle: str, new_scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What may still be uploading is counted as deferred, not segmented, loses nothing, and the log says why."""
    scans = tmp_path / "scans"
    shutil.copytree(new_scans, scans, copy_function=shutil.copyfile)
    handle = _segment(bright_bundle, scans, tmp_path / "output", settle_minutes=30)
    assert handle.counts == {"done": 0, "skipped": 0, "deferred": 6, "failed": 0, "not_a_scan": 0}
    assert "6 scans deferred, younger than 30 min (segmentation.settle_minutes)" in caplog.text


def test_what_is_finished_stays_so_however_young(bright_bundle: str, new_scans: Path, tmp_path: Path) -> None:
    """Its content is that of the last run: else its rows, and their masks, would be gone from table and report."""
    _segment(bright_bundle, new_scans, tmp_path / "output")
    before = _rows(tmp_path / "output")
    handle = _segment(bright_bundle, new_scans, tmp_path / "output", settle_minutes=60 * 24 * 365 * 100)
    assert (handle.counts["skipped"], handle.counts["deferred"]) == (len(before), 0)
    after = _rows(tmp_path / "output")
    assert {scan_id: row.mask_uri for scan_id, row in after.items()} == {i: row.mask_uri for i, row in before.items()}


def test_scans_in_folders_get_ids_of_their_paths(bright_bundle: str, new_scans: Path, tmp_path: Path) -> None:
    """Folders become part of the id; two files that differ only in suffix are told apart by a hash."""
    scans = tmp_path / "scans"
    (scans / "a").mkdir(parents=True)
    picture = Image.open(new_scans / "phantom_050_0.png")
    picture.save(scans / "a" / "one.png")
    picture.save(scans / "two.png")
    picture.save(scans / "two.bmp")
    _segment(bright_bundle, scans, tmp_path / "output")
    ids = sorted(_rows(tmp_path / "output"))
    assert ids[0] == "a__one"
    assert len(ids) == 3
    assert all(scan_id.startswith("two-") for scan_id in ids[1:])
