"""What a GPU must show: training, a restart, segmentation, precisions that agree, and a speed. Skipped without one."""

import csv
import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.core.metrics import Counts, count_pixels, dice
from tests.benchmarks.processes import LESIONS
from tests.phantoms import PATIENT_ID_PATTERN, write_phantoms

SIZE_PX, N_PATIENTS, N_SLICES = 128, 5, 24
MIN_AGREEMENT_DICE = 0.99
TIMEOUT_S = 240


def _n_gpus() -> int:
    """Return the number of GPUs of this machine."""
    if not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return len(listed.stdout.splitlines()) if listed.returncode == 0 else 0


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.ray,
    pytest.mark.tf,
    pytest.mark.skipif(_n_gpus() == 0, reason="this machine has no GPU"),
]


def _lesions(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command, and return what it said."""
    return subprocess.run([LESIONS, *map(str, words)], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)


def _training(dataset: Path, model: Path, *options: object) -> list[object]:
    gpu = ["--training.gpus-per-worker", 1, "--training.epochs", 6, "--training.batch-size", 8]
    return ["train", dataset, model, *gpu, *options]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of phantoms, with lung masks."""
    folder = tmp_path_factory.mktemp("gpu")
    write_phantoms(folder / "labelled", n_patients=N_PATIENTS, n_slices=N_SLICES, size_px=SIZE_PX)
    fractions = ["--preparation.fractions.val", 0.2, "--preparation.fractions.test", 0.2]
    named = ["--preparation.size-px", SIZE_PX, "--preparation.patient-id-pattern", PATIENT_ID_PATTERN]
    _lesions("prepare", folder / "labelled", folder / "dataset", *named, *fractions)
    return folder / "dataset"


@pytest.fixture(scope="module")
def model(dataset: Path) -> Path:
    """A bundle trained on a GPU in the default precision, killed once on the way."""
    folder = dataset.parent / "model"
    words = [LESIONS, *map(str, _training(dataset, folder))]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + TIMEOUT_S
    while not list(folder.glob("checkpoints/*/epoch-*.npz")) and time.monotonic() < deadline:
        time.sleep(0.2)
    first.kill()
    first.wait()
    said = _lesions(*_training(dataset, folder))
    assert "going on after epoch" in said.stdout + said.stderr
    assert "float16 on a GPU" in said.stdout + said.stderr
    return folder


def test_a_training_on_a_gpu_goes_on_after_a_kill_and_learns(model: Path) -> None:
    """Every epoch is in the history once, the loss falls, and the card names the outputs."""
    history = list(csv.DictReader((model / "history.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in history] == list(range(1, len(history) + 1))
    losses = [float(row["train_loss"]) for row in history]
    assert losses[-1] < losses[0]
    assert json.loads((model / "model.json").read_text())["outputs"] == ["lesion", "lung"]


@pytest.fixture(scope="module")
def masks(model: Path, dataset: Path) -> dict[str, np.ndarray]:
    """Masks of the same scans in each precision, all in one array each."""
    scans = dataset.parent / "labelled" / "frames"
    found = {}
    for precision in ("float32", "bfloat16", "float16"):
        output = dataset.parent / f"masks-{precision}"
        how = ["--segmentation.precision", precision, "--segmentation.settle-minutes", 0]
        said = _lesions("segment", model, scans, output, *how)
        assert f"{precision} on a GPU" in said.stdout + said.stderr
        found[precision] = np.stack([np.asarray(Image.open(path)) for path in sorted((output / "masks").iterdir())])
    return found


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precisions_agree(masks: dict[str, np.ndarray], precision: str) -> None:
    """Masks of reduced precision are those of float32 to Dice 0.99, pooled over all slices."""
    pairs = zip(masks["float32"] // 255, masks[precision] // 255, strict=True)
    agreement = dice(sum((count_pixels(found, expected) for expected, found in pairs), Counts()))
    assert agreement is not None
    assert agreement >= MIN_AGREEMENT_DICE


def test_speed_is_reported(model: Path, dataset: Path, masks: dict[str, np.ndarray]) -> None:
    """The manifest has the slices per second of a run on a GPU; the figure is printed for the table."""
    speeds = {
        precision: json.loads((dataset.parent / f"masks-{precision}" / "manifest.json").read_text())["speed"]
        for precision in masks
    }
    shown = {precision: speed["slices_per_second"] for precision, speed in speeds.items()}
    print(f"slices per second on a GPU: {shown}")  # noqa: T201 - read by the person who ran it
    assert all(shown.values())
