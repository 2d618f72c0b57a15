import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.evaluate_model import evaluate_model
from flows.prepare_dataset import prepare_dataset
from flows.segment_scans import segment_scans
from flows.train_model import train_model
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.errors import ConfigError, IncompleteError
from tasks.core.rows import LedgerEntry, ScanRow
from tasks.core.schemas import SegmentationManifest
from tasks.io import ledger, storage
from tasks.io.tables import from_parquet
from tests.bad_inputs import tar
from tests.conftest import MODEL, PREPARATION, Trained

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


def _all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("scans", "output", "reason"),
    [
        ("frames", "frames/out", "taken for scans"),
        ("frames", "frames", "taken for scans"),
        ("frames", ".", "could replace them"),
        ("link", ".", "could replace them"),
        ("frames", "link/out", "taken for scans"),
        ("frames", "elsewhere", r"no run of ours wrote \(masks/\)"),
    ],
)
def test_an_output_that_could_overwrite_anything_is_refused(
    prefect_server: None, phantoms: Path, tmp_path: Path, scans: str, output: str, reason: str
) -> None:
    """Scans and output that lie in each other, by links too, and folders of somebody else's: nothing is touched."""
    source = tmp_path / "source"
    shutil.copytree(phantoms, source)
    (source / "link").symlink_to(source / "frames")
    shutil.copytree(phantoms / "masks", source / "elsewhere" / "masks")
    before = _all_bytes(source)
    with pytest.raises(ConfigError, match=reason):
        segment_scans("no model is asked for", str(source / scans), str(source / output), segmentation=AT_ONCE)
    assert _all_bytes(source) == before


@pytest.mark.parametrize("flow", ["prepare", "train", "evaluate"])
def test_no_flow_writes_among_files_of_others(prefect_server: None, phantoms: Path, tmp_path: Path, flow: str) -> None:
    """Datasets, bundles and evaluations, too, go to empty folders or over their like only."""
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    shutil.copytree(phantoms, source)
    before = _all_bytes(source)
    if flow == "train":
        prepare_dataset(str(phantoms), str(dataset), preparation=PREPARATION)
    calls = {
        "prepare": lambda: prepare_dataset(str(phantoms), str(source), preparation=PREPARATION),
        "train": lambda: train_model(str(dataset), str(source), model=MODEL),
        "evaluate": lambda: evaluate_model("no model is asked for", str(dataset), str(source)),
    }
    with pytest.raises(ConfigError, match=r"no run of ours wrote \(frames/, masks/\)"):
        calls[flow]()
    assert _all_bytes(source) == before


def test_a_run_without_scans_is_green_only_if_none_were_lost(trained: Trained, new_scans: Path, tmp_path: Path) -> None:
    """Unread volumes or an empty mount end a run not green and leave table and masks; markers alone do not."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    scans.mkdir()
    (scans / "volume.mhd").write_bytes(b"NDims = 3" + bytes(200))
    with pytest.raises(IncompleteError, match=r"1 of which could be scans, and took none: 1 \.mhd"):
        segment_scans(trained.model_uri, str(scans), str(output), segmentation=AT_ONCE)
    assert not (output / "scans.parquet").exists()
    segment_scans(trained.model_uri, str(new_scans), str(output), segmentation=AT_ONCE)
    before = _all_bytes(output)
    for left in (["volume.mhd"], []):
        for path in scans.iterdir():
            if path.name not in left:
                path.unlink()
        with pytest.raises(IncompleteError, match="What was published before stays"):
            segment_scans(trained.model_uri, str(scans), str(output), segmentation=AT_ONCE)
    (scans / "other.tar").write_bytes(tar({"volume.mhd": b"NDims = 3" + bytes(200)}))
    with pytest.raises(IncompleteError, match="What was published before stays"):
        segment_scans(trained.model_uri, str(scans), str(output), segmentation=AT_ONCE)
    after = _all_bytes(output)
    assert {path: after[path] for path in before} == before
    (scans / "other.tar").unlink()
    (scans / "_SUCCESS").touch()
    assert segment_scans(trained.model_uri, str(scans), str(output), segmentation=AT_ONCE).n_new_failures == 0
    assert len(_rows(output)) == 6


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
