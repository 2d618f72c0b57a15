import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.segment_scans import segment_scans
from tasks.core.config import SegmentationConfig
from tasks.core.errors import ConfigError, IncompleteError
from tasks.core.records import LedgerEntry, ScanRow, SegmentationManifest
from tasks.io import ledger, storage
from tasks.io.tables import from_parquet
from tests.conftest import Trained

pytestmark = [pytest.mark.ray, pytest.mark.tf]

AT_ONCE = SegmentationConfig(settle_minutes=0)


def _rows(output: Path) -> dict[str, ScanRow]:
    return {row.scan_id: row for row in from_parquet(ScanRow, storage.read_bytes(f"{output}/scans.parquet"))}


def _digests(output: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (output / "masks").iterdir()}


def test_every_scan_gets_a_mask_of_its_own_size(trained: Trained, new_scans: Path, tmp_path: Path) -> None:
    """Each scan has a 0/255 mask in its own grid, a preview, and a row whose figures are the mask's."""
    ref = segment_scans(trained.model_uri, str(new_scans), str(tmp_path), segmentation=AT_ONCE)
    assert ref.counts == {"done": 6, "skipped": 0, "deferred": 0, "failed": 0}
    for scan_id, row in _rows(tmp_path).items():
        mask = np.asarray(Image.open(tmp_path / "masks" / f"{scan_id}.png"))
        assert mask.shape == (96, 96)
        assert set(np.unique(mask)) <= {0, 255}
        assert row.lesion_voxels == np.count_nonzero(mask)
        assert row.mask_sha256 == hashlib.sha256((tmp_path / "masks" / f"{scan_id}.png").read_bytes()).hexdigest()
        assert (tmp_path / "previews" / f"{scan_id}.png").exists()
        assert row.lesion_ml is None  # a PNG has no spacing, and none is guessed
    assert (tmp_path / "manifest.json").exists()


def test_second_run_skips_what_is_finished(trained: Trained, new_scans: Path, tmp_path: Path) -> None:
    """A finished scan is not done again, unless its mask was touched, its source changed, or force is set."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    shutil.copytree(new_scans, scans)

    def run(config: SegmentationConfig = AT_ONCE) -> dict[str, int]:
        return segment_scans(trained.model_uri, str(scans), str(output), segmentation=config).counts

    assert run()["done"] == 6
    before = _digests(output)
    assert run() == {"done": 0, "skipped": 6, "deferred": 0, "failed": 0}
    victim = next((output / "masks").iterdir())
    victim.write_bytes(b"damaged")
    shutil.copy(scans / "phantom_050_0.png", scans / "phantom_050_5.png")
    again = run()
    assert again["done"] == (1 if victim.stem == "phantom_050_5" else 2)
    assert _digests(output)[victim.name] == before[victim.name] or victim.stem == "phantom_050_5"
    for other in ({"force": True}, {"threshold": 0.9}):  # other parameters are other work
        asked = AT_ONCE.model_copy(update=other)
        plan = segment_scans(trained.model_uri, str(scans), str(output), segmentation=asked, dry_run=True)
        assert len(plan.due) == 6


def test_dry_run_says_what_would_be_done_and_writes_nothing(trained: Trained, new_scans: Path, tmp_path: Path) -> None:
    """A dry run counts what is due and what is not, names scans, and leaves the output as it is."""
    output = tmp_path / "output"
    plan = segment_scans(trained.model_uri, str(new_scans), str(output), segmentation=AT_ONCE, dry_run=True)
    assert len(plan.due) == 6
    assert "6 scans would be segmented (phantom_050_0, phantom_050_1, phantom_050_2, …)" in plan.sentence()
    assert not output.exists()
    waiting = segment_scans(trained.model_uri, str(new_scans), str(output), dry_run=True)
    assert (waiting.due, waiting.settled["deferred"]) == ([], 6)


def test_corrupt_slice_is_named_and_what_a_killed_run_left_is_reported(
    trained: Trained, new_scans: Path, tmp_path: Path
) -> None:
    """A truncated slice leaves the others done and the run not green, also where the run that found it was killed."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    shutil.copytree(new_scans, scans)
    bad = scans / "phantom_050_2.png"
    bad.write_bytes(bad.read_bytes()[:300])
    with pytest.raises(IncompleteError, match="1 scan newly failed"):
        segment_scans(trained.model_uri, str(scans), str(output), segmentation=AT_ONCE)
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
    with pytest.raises(IncompleteError, match="1 scan newly failed"):
        segment_scans(trained.model_uri, str(scans), str(output), segmentation=AT_ONCE)
    after = {path.stem: path.stat().st_mtime_ns for path in (output / "masks").iterdir()}
    assert {scan_id for scan_id in before if before[scan_id] == after[scan_id]} == recorded - {"phantom_050_2"}
    assert {row.status for row in _rows(output).values()} == {"done", "failed"}
    ref = segment_scans(trained.model_uri, str(scans), str(output), segmentation=AT_ONCE)
    assert ref.counts == {"done": 0, "skipped": 5, "deferred": 0, "failed": 1}


@pytest.mark.soak
def test_a_runs_word_on_flips_reaches_the_model(trained: Trained, new_scans: Path, tmp_path: Path) -> None:
    """With and without them, whatever the bundle does, masks are other ones, and the manifest says which."""
    masks = {}
    for flips in (False, True):
        output, asked = tmp_path / str(flips), AT_ONCE.model_copy(update={"test_time_flips": flips})
        segment_scans(trained.model_uri, str(new_scans), str(output), segmentation=asked)
        manifest = SegmentationManifest.model_validate_json((output / "manifest.json").read_text())
        assert (manifest.test_time_flips, manifest.n_predictions) == (flips, 4 if flips else 1)
        masks[flips] = _digests(output)
    assert masks[False] != masks[True]


def test_output_below_the_scans_is_refused(trained: Trained, tmp_path: Path) -> None:
    """An output whose masks the next run would take for scans is refused before anything starts."""
    with pytest.raises(ConfigError, match="taken for scans"):
        segment_scans(trained.model_uri, str(tmp_path / "data"), str(tmp_path / "data" / "out"))


def test_young_objects_are_left_for_the_next_run(trained: Trained, new_scans: Path, tmp_path: Path) -> None:
    """What may still be uploading is counted as deferred, not segmented, and loses nothing."""
    scans = tmp_path / "scans"
    shutil.copytree(new_scans, scans, copy_function=shutil.copyfile)
    ref = segment_scans(trained.model_uri, str(scans), str(tmp_path / "output"))
    assert ref.counts == {"done": 0, "skipped": 0, "deferred": 6, "failed": 0}


def test_scans_in_folders_get_ids_of_their_paths(trained: Trained, new_scans: Path, tmp_path: Path) -> None:
    """Folders become part of the id; two files that differ only in suffix are told apart by a hash."""
    scans = tmp_path / "scans"
    (scans / "a").mkdir(parents=True)
    picture = Image.open(new_scans / "phantom_050_0.png")
    picture.save(scans / "a" / "one.png")
    picture.save(scans / "two.png")
    picture.save(scans / "two.bmp")
    segment_scans(trained.model_uri, str(scans), str(tmp_path / "output"), segmentation=AT_ONCE)
    ids = sorted(_rows(tmp_path / "output"))
    assert ids[0] == "a__one"
    assert len(ids) == 3
    assert all(scan_id.startswith("two-") for scan_id in ids[1:])
