"""Steady state against the bare model, the classic loop and PyTorch, each in its own process, one after the other."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.core.metrics import Counts, count_pixels, dice
from tests.benchmarks.processes import seconds_a_slice, segment
from tests.benchmarks.setting import Row, Setting

PRECISIONS = ("float32", "bfloat16")
N_CLASSIC = 200
"""Slices of the classic loop: it is the same for each, and slow."""

BARE = """
import json, sys, time
from pathlib import Path
import cv2, numpy as np
from tasks.engine.inference.bundle_model import BATCH_SIZE, load_predictor
predictor = load_predictor(sys.argv[1], sys.argv[3], test_time_flips=False)
images = np.stack([cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(Path(sys.argv[2]).iterdir())])
predictor.predict(images[: 2 * BATCH_SIZE])
started = time.perf_counter()
predictor.predict(images)
print(json.dumps((time.perf_counter() - started) / len(images)))
"""

CLASSIC = """
import json, sys, time
from pathlib import Path
import cv2, numpy as np
from tasks.engine.network.model import build_model, load_weights
from tasks.io.outputs.bundles import read_bundle
bundle = read_bundle(sys.argv[1])
card = bundle.card
widths = {"decoder_filters": card.decoder_filters, "n_outputs": len(card.outputs)}
model = build_model(card.architecture, card.backbone, slice_statistics=card.slice_statistics, **widths)
load_weights(model, bundle.weights[0])
size, out = card.input_size_px, Path(sys.argv[4])
out.mkdir()
def segment(path):
    image = cv2.resize(cv2.imread(str(path)), (size, size)) / 255.0
    logits = model.predict(image[np.newaxis].astype(np.float32), verbose=0)[0, ..., 0]
    cv2.imwrite(str(out / path.name), (logits > 0).astype(np.uint8) * 255)
paths = sorted(Path(sys.argv[2]).iterdir())[: int(sys.argv[3])]
segment(paths[0])
started = time.perf_counter()
for path in paths:
    segment(path)
print(json.dumps((time.perf_counter() - started) / len(paths)))
"""

PYTORCH = """
import json, sys, time
from pathlib import Path
import cv2, numpy as np, torch
import segmentation_models_pytorch as smp
precision, out, size = sys.argv[2], Path(sys.argv[3]), 256
layout = torch.channels_last if sys.argv[4] == "channels last" else torch.contiguous_format
out.mkdir()
class Slices(torch.utils.data.Dataset):
    paths = sorted(Path(sys.argv[1]).iterdir())
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, index):
        image = cv2.resize(cv2.imread(str(self.paths[index])), (size, size))
        return torch.from_numpy(image.transpose(2, 0, 1)).float() / 255, index
model = smp.Unet("resnet34", encoder_weights=None).eval().to(memory_format=layout)
slices, started, n_warm = Slices(), None, 2
with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
    for step, (images, indices) in enumerate(torch.utils.data.DataLoader(slices, batch_size=16, num_workers=1)):
        if step == n_warm:
            started = time.perf_counter()
        masks = (model(images.to(memory_format=layout)).float() > 0).numpy()[:, 0]
        for mask, index in zip(masks, indices.tolist()):
            cv2.imwrite(str(out / slices.paths[index].name), mask.astype(np.uint8) * 255)
print(json.dumps((time.perf_counter() - started) / (len(slices) - 16 * n_warm)))
"""
"""segmentation_models.pytorch with a DataLoader; random weights, which are as fast as any."""

LAYOUTS = ("as it comes", "channels last")
"""Of the peer's tensors: what its users get, and the faster one they could ask for."""


def run(setting: Setting) -> list[Row]:
    """Return milliseconds a slice of each way and network, with its speed against the bare network."""
    scans, rows = setting.scans(setting.n_slices), []
    for network, model_uri in setting.models.items():
        is_of_peers, outputs = not rows, {}
        for precision in PRECISIONS:
            outputs[precision] = setting.folder / f"{network}-{precision}"
            found = _measure(setting, model_uri, scans, outputs[precision], precision)
            if is_of_peers:
                found |= _peers(setting, model_uri, scans, precision)
            rows += _rows(network, precision, found)
        rows += _agreement(network, outputs["float32"] / "masks", outputs["bfloat16"] / "masks")
    return rows


def _measure(setting: Setting, model_uri: str, scans: Path, output: Path, precision: str) -> dict[str, float]:
    """Return the seconds a slice of the bare network, and of ours in steady state and from process start to exit."""
    before = seconds_a_slice(BARE, model_uri, str(scans), precision)
    ours = segment(model_uri, scans, output, precision)
    after = seconds_a_slice(BARE, model_uri, str(scans), precision)
    return {
        "bare model": (before + after) / 2,  # the machine's own speed drifts
        "segment, steady state": ours.seconds_a_slice,
        "segment, process start to exit": ours.seconds / setting.n_slices,
    }


def _peers(setting: Setting, model_uri: str, scans: Path, precision: str) -> dict[str, float]:
    """Return the seconds a slice of PyTorch in each layout, if it is there, and in float32 of the classic loop."""
    found = {}
    for layout in LAYOUTS if setting.peer_python else ():
        out = str(setting.folder / f"peer-{precision}-{layout}")
        seconds = seconds_a_slice(PYTORCH, str(scans), precision, out, layout, python=setting.peer_python)
        found[f"segmentation_models.pytorch, {layout}"] = seconds
    if precision == "float32":
        out = str(setting.folder / "classic")
        classic = seconds_a_slice(CLASSIC, model_uri, str(scans), str(N_CLASSIC), out, python=sys.executable)
        found["classic loop"] = classic
    return found


def _rows(network: str, precision: str, seconds: dict[str, float]) -> list[Row]:
    """Return a row for each way, with its speed against the bare network."""
    return [
        Row("throughput", f"{network}, {what}, {precision}", 1000 * found, "ms a slice", seconds["bare model"] / found)
        for what, found in seconds.items()
    ]


def _agreement(network: str, expected: Path, found: Path) -> list[Row]:
    """Return how well masks of reduced precision agree with those of float32."""
    pairs = [
        count_pixels(*(np.asarray(Image.open(path)) // 255 for path in (found / mask.name, mask)))
        for mask in sorted(expected.iterdir())
    ]
    pooled = sum(pairs, Counts())
    return [Row("agreement", f"{network}, bfloat16 masks against float32, pooled", dice(pooled) or 0.0, "Dice", None)]
