"""Steady state against the bare model and the classic loop, each in a process of its own, one after the other."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tasks.engine.cluster import WORKER_ENVIRONMENT

N_CLASSIC = 200
"""Slices of the classic loop: it is the same for each, and slow."""

BARE = """
import json, sys, time
from pathlib import Path
import cv2, numpy as np
from tasks.engine.actors import BATCH_SIZE, load_predictor
predictor = load_predictor(sys.argv[1], sys.argv[3])
images = np.stack([cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(Path(sys.argv[2]).iterdir())])
predictor.predict(images[:BATCH_SIZE])
started = time.perf_counter()
predictor.predict(images)
print(json.dumps((time.perf_counter() - started) / len(images)))
"""

CLASSIC = """
import json, sys, time
from pathlib import Path
import cv2, numpy as np
from tasks.engine.model import build_model, load_weights
from tasks.io.bundles import read_bundle
bundle = read_bundle(sys.argv[1])
model = build_model(bundle.card.architecture, bundle.card.backbone)
load_weights(model, bundle.weights)
size, out = bundle.card.input_size_px, Path(sys.argv[4])
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


def run(model_uri: str, scans: Path, folder: Path) -> list[dict[str, Any]]:
    """Return rows of milliseconds a slice, with the ratio to the bare model of the same precision."""
    rows = []
    for precision in ("float32", "bfloat16"):
        bare = _seconds(BARE, model_uri, str(scans), precision)
        ours, one_process = _ours(model_uri, scans, folder / precision, precision)
        rows += [
            _row("bare model", precision, bare, bare),
            _row("segment, steady state", precision, ours, bare),
            _row("segment, process start to end", precision, one_process, bare),
        ]
    classic = _seconds(CLASSIC, model_uri, str(scans), str(N_CLASSIC), str(folder / "classic"))
    return [*rows, *(_row("classic loop", "float32", classic, row["ms"] / 1000) for row in rows[:1])]


def _row(what: str, precision: str, seconds: float, bare: float) -> dict[str, Any]:
    return {"what": what, "precision": precision, "ms": 1000 * seconds, "of_bare": bare / seconds}


def _ours(model_uri: str, scans: Path, output: Path, precision: str) -> tuple[float, float]:
    """Return seconds a slice of a whole run of the command: its steady state, and from process start to exit."""
    command = [str(Path(sys.executable).with_name("lesions")), "segment", model_uri, str(scans), str(output)]
    started = time.perf_counter()
    options = ["--segmentation.precision", precision, "--segmentation.settle-minutes", "0"]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    manifest = json.loads((output / "manifest.json").read_text())
    return 1 / manifest["speed"]["slices_per_second"], seconds / manifest["counts"]["done"]


def _seconds(script: str, *arguments: str) -> float:
    answer = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **WORKER_ENVIRONMENT},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(json.loads(answer.stdout.strip().splitlines()[-1]))
