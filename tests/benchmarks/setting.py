"""What benchmarks run on: real slices where they are, else phantoms; a bundle; the processor's abilities."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.config.preparation import Fractions, PreparationConfig
from tests.phantoms import PATIENT_ID_PATTERN, write_phantoms

SIZE_PX = 256
N_EPOCHS = 20
"""Of one step each: after a single one the networks are so unsure that masks depend on rounding."""
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        benchmark: Which one it is of.
        what: What was measured.
        value: The figure.
        unit: Of the figure.
        ratio: To its peer in the same run, larger is better; None where it has none.
    """

    benchmark: str
    what: str
    value: float
    unit: str
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Setting:
    """What a benchmark is given.

    Attributes:
        folder: Its own, empty.
        models: Bundles by network; the last is the default network.
        n_slices: Slices of a comparison.
        peer_python: A Python that has segmentation_models_pytorch; None leaves that peer out.
    """

    folder: Path
    models: dict[str, str]
    n_slices: int
    peer_python: str | None

    @property
    def model_uri(self) -> str:
        """Bundle of the default network, or the one that was named."""
        return list(self.models.values())[-1]

    def scans(self, n_slices: int) -> Path:
        """Return a folder of that many slices: real ones where the machine has them, again and again if need be."""
        default = Path(__file__).parents[3] / "shared" / "data"
        frames = Path(os.environ.get("LESIONS_TEST_DATA", default)) / "coronacases_256" / "frames"
        if not frames.exists():
            frames = self.folder / "phantoms" / "frames"
            if not frames.exists():
                write_phantoms(self.folder / "phantoms", n_patients=1, n_slices=64, size_px=SIZE_PX)
        scans = self.folder / f"scans-{n_slices}"
        scans.mkdir()
        for number, path in enumerate(islice(cycle(sorted(frames.iterdir())), n_slices)):
            shutil.copy(path, scans / f"{number:06d}{path.suffix}")
        return scans


NETWORKS = {
    "ResNet34": ModelConfig(backbone="resnet34", decoder_filters=256, encoder_weights="none"),
    "default": ModelConfig(),
}
"""Networks that are measured: that of the peers, and the default."""

Benchmark = Callable[[Setting], list[Row]]


def cpu_flags() -> list[str]:
    """Return the abilities that decide the speed of reduced precision."""
    cpuinfo = Path("/proc/cpuinfo")
    found = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return [flag for flag in FLAGS if flag in found]


def trained_bundles(folder: Path) -> dict[str, str]:
    """Return a bundle of each network, trained on phantoms just so far that bfloat16 passes its self-test."""
    from flows.prepare_dataset import prepare_dataset
    from flows.train_model import train_model

    write_phantoms(folder / "labelled", n_patients=4, n_slices=8, size_px=SIZE_PX)
    preparation = PreparationConfig(patient_id_pattern=PATIENT_ID_PATTERN, fractions=Fractions(val=0.25, test=0.25))
    prepare_dataset(str(folder / "labelled"), str(folder / "dataset"), preparation=preparation)
    training = TrainingConfig(epochs=N_EPOCHS)
    augment = AugmentConfig(**dict.fromkeys(AugmentConfig.model_fields, 0))
    dataset = str(folder / "dataset")
    return {
        name: train_model(dataset, str(folder / name), model=network, training=training, augment=augment).uri
        for name, network in NETWORKS.items()
    }
