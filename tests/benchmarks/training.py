"""Training, augmentation included, against plain Keras `fit` on arrays in memory with the same augmentation."""

import csv
import os
import shutil
import subprocess
from itertools import islice
from pathlib import Path

from tasks.core.config.learning import ModelConfig
from tests.benchmarks.processes import LESIONS, seconds_a_slice
from tests.benchmarks.setting import NETWORKS, SIZE_PX, Row, Setting
from tests.phantoms import PATIENT_ID_PATTERN, write_phantoms

N_SLICES, EPOCHS, BATCH_SIZE = 480, 2, 8
"""Of which three quarters are trained on, about; the first epoch warms up and is not counted."""

KERAS = """
import json, sys, time
import numpy as np, segmentation_models as sm, tensorflow as tf
from tasks.core.augment import build_augmentation
from tasks.core.config.augmentation import AugmentConfig
from tasks.io.outputs import datasets
rows = [row for uri in datasets.list_shards(sys.argv[1], "train") for row in datasets.read_shard(uri)]
images = np.stack([row["image"] for row in rows])
masks = np.stack([row["mask"] for row in rows])
augmentation, batch, n_slices = build_augmentation(AugmentConfig()), int(sys.argv[2]), int(sys.argv[3])
class Slices(tf.keras.utils.Sequence):
    def __len__(self):
        return n_slices // batch
    def __getitem__(self, index):
        indices = np.arange(index * batch, (index + 1) * batch) % len(images)
        changed = [augmentation(image=images[at], mask=masks[at]) for at in indices]
        shown = np.stack([one["image"] for one in changed]).astype(np.float32)[..., None] / 255.0
        return np.repeat(shown, 3, axis=-1), np.stack([one["mask"] for one in changed]).astype(np.float32)[..., None]
model = sm.Unet("resnet34", encoder_weights=None, classes=1, activation="sigmoid")
model.compile(tf.keras.optimizers.Adam(1e-3), sm.losses.bce_dice_loss)
model.fit(Slices(), epochs=1, verbose=0)
started = time.perf_counter()
model.fit(Slices(), epochs=1, verbose=0)
print(json.dumps((time.perf_counter() - started) / (n_slices // batch * batch)))
"""


def run(setting: Setting) -> list[Row]:
    """Return slices a second of each, and what share of its steps ours waited for slices."""
    dataset = _dataset(setting.folder)
    found = {
        f"{name}, {precision}": _train(dataset, setting.folder / f"{name}-{precision}", network, precision)
        for name, network in NETWORKS.items()
        for precision in ("float32", "bfloat16")
    }
    n_slices = int(next(iter(found.values()))["train_slices"])
    peer = 1 / seconds_a_slice(KERAS, str(dataset), str(BATCH_SIZE), str(n_slices))
    rows = [Row("training", "Keras fit on arrays in memory, ResNet34, float32", peer, "slices/s", 1.0)]
    for what, row in found.items():
        speed = float(row["slices_per_second"])
        rows.append(Row("training", f"lesions train, {what}", speed, "slices/s", speed / peer))
        stall = float(row["stall_fraction"])
        rows.append(Row("training", f"waiting for slices, {what}", stall, "fraction of the time", None))
    return rows


def _train(dataset: Path, model: Path, network: ModelConfig, precision: str) -> dict[str, str]:
    """Return the row of the last epoch."""
    command = [LESIONS, "train", str(dataset), str(model), "--model.encoder-weights", network.encoder_weights]
    command += ["--model.backbone", network.backbone, "--model.decoder-filters", str(network.decoder_filters)]
    command += ["--training.epochs", str(EPOCHS), "--training.batch-size", str(BATCH_SIZE)]
    command += ["--training.lesion-free-fraction", "1", "--training.precision", precision]
    subprocess.run(command, check=True, capture_output=True)
    return list(csv.DictReader((model / "history.csv").read_text().splitlines()))[-1]


def _dataset(folder: Path) -> Path:
    """Return a dataset of real slices where the machine has them, else of phantoms."""
    default = Path(__file__).parents[3] / "shared" / "data"
    real = Path(os.environ.get("LESIONS_TEST_DATA", default)) / "coronacases_256"
    source, options = folder / "labelled", ["--preparation.fractions.val", "0.1", "--preparation.fractions.test", "0.1"]
    if real.exists():
        names = sorted(path.name for path in (real / "masks").iterdir())
        for side in ("frames", "masks"):
            (source / side).mkdir(parents=True)
            for name in islice(names, 0, None, max(1, len(names) // N_SLICES)):
                shutil.copy(real / side / name, source / side / name)
    else:
        write_phantoms(source, n_patients=6, n_slices=N_SLICES // 6, size_px=SIZE_PX)
        options += ["--preparation.patient-id-pattern", PATIENT_ID_PATTERN]
    subprocess.run(
        [LESIONS, "prepare", str(source), str(folder / "dataset"), *options], check=True, capture_output=True
    )
    return folder / "dataset"
