"""Mistakes of operators, made as commands: one sentence, the right exit status, hardly more on the terminal."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tasks.io import output_lock
from tasks.runtime.local_server import LocalServer
from tests.benchmarks.processes import LESIONS
from tests.conftest import Trained

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.tf, pytest.mark.server, pytest.mark.slow]

MAX_LINES = 5
PARAMETERS, LOCKED, OUTSIDE = 2, 4, 5
NOBODY = "127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Night:
    """What a command is given: a model, scans, a place for outputs, and an address where another service answers."""

    model: str
    scans: Path
    folder: Path
    elsewhere: str

    def segment(self, model: str | None = None, scans: str | None = None, output: str | None = None) -> list[str]:
        """Return the arguments of a segmentation."""
        filled = (
            self.model if model is None else model,
            str(self.scans) if scans is None else scans,
            str(self.folder / "output") if output is None else output,
        )
        return ["segment", *filled, "--segmentation.settle-minutes", "0"]

    def file(self, name: str, content: bytes) -> str:
        """Write a file, and return its path."""
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def changed_model(self) -> str:
        """Return a copy of the model with one bit flipped."""
        copy = self.folder / "changed"
        shutil.copytree(self.model.removeprefix("file://"), copy)
        weights = copy / "model.weights.h5"
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
        return str(copy)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A command that cannot do.

    Attributes:
        status: Exit status it must have.
        says: What the sentence must hold.
        arguments: Those of `lesions`.
        environment: Variables that differ; empty ones are unset.
    """

    status: int
    says: str
    arguments: Callable[[Night], list[str]]
    environment: dict[str, str] = field(default_factory=dict)


def _config(content: bytes) -> Callable[[Night], list[str]]:
    return lambda night: ["train", "a", "b", "--config", night.file("config.yaml", content)]


MISTAKES = {
    "no model": Mistake(PARAMETERS, "holds no model.json", lambda night: night.segment(model="/nowhere")),
    "changed model": Mistake(PARAMETERS, "was changed", lambda night: night.segment(model=night.changed_model())),
    "no scans": Mistake(PARAMETERS, "Nothing exists at", lambda night: night.segment(scans="/nowhere")),
    "bucket that is none": Mistake(
        PARAMETERS, "Nothing exists at", lambda night: night.segment(scans="gs://nowhere/a")
    ),
    "no such store": Mistake(PARAMETERS, "ftp:// is not read", lambda night: night.segment(scans="ftp://host/a")),
    "variable not set": Mistake(PARAMETERS, "Is a variable not set", lambda night: night.segment(output="")),
    "password in an address": Mistake(PARAMETERS, "environment", lambda night: night.segment(model="https://a:b@c/d")),
    "output of others": Mistake(PARAMETERS, "no run of ours", lambda night: night.segment(output=str(night.folder))),
    "output in the scans": Mistake(
        PARAMETERS, "taken for scans", lambda night: night.segment(output=str(night.scans / "output"))
    ),
    "output is a file": Mistake(PARAMETERS, "is a file", lambda night: night.segment(output=night.file("a", b"a"))),
    "output that cannot be written": Mistake(OUTSIDE, "Could not write", lambda night: night.segment(output="/proc/a")),
    "output that is locked": Mistake(
        LOCKED, "is held by run", lambda night: night.segment(output=str(night.folder / "locked"))
    ),
    "no Prefect there": Mistake(
        OUTSIDE, "does not respond", Night.segment, {"PREFECT_API_URL": f"http://{NOBODY}/api"}
    ),
    "no address of Prefect": Mistake(OUTSIDE, "PREFECT_API_URL is", Night.segment, {"PREFECT_API_URL": "prefect"}),
    "Prefect wants a login": Mistake(
        OUTSIDE,
        "PREFECT_API_AUTH_STRING",
        Night.segment,
        {"PREFECT_API_URL": "{elsewhere}", "PREFECT_API_AUTH_STRING": ""},
    ),
    "no Ray there": Mistake(
        OUTSIDE, "No Ray head", lambda night: [*night.segment(), "--compute.ray-address", f"http://{NOBODY}"]
    ),
    "Ray is another service": Mistake(
        OUTSIDE, "is no Ray head", lambda night: [*night.segment(), "--compute.ray-address", night.elsewhere[:-4]]
    ),
    "no address of Ray": Mistake(
        PARAMETERS, "HEAD:8265", lambda night: [*night.segment(), "--compute.ray-address", "cluster"]
    ),
    "misspelt command": Mistake(PARAMETERS, 'Did you mean "segment"', lambda _: ["segmnt"]),
    "misspelt flag": Mistake(
        PARAMETERS, "--segmentation.threshold", lambda night: [*night.segment(), "--segmentation.treshold", "0.3"]
    ),
    "word for a number": Mistake(
        PARAMETERS, "threshold is 'high'", lambda night: [*night.segment(), "--segmentation.threshold", "high"]
    ),
    "argument missing": Mistake(PARAMETERS, "--scans", lambda night: ["segment", night.model]),
    "no dataset": Mistake(PARAMETERS, "dataset.json", lambda night: ["train", night.model, str(night.folder / "b")]),
    "no config": Mistake(PARAMETERS, "Cannot read", lambda _: ["train", "a", "b", "--config", "/nowhere.yaml"]),
    "config in UTF-16": Mistake(PARAMETERS, "UTF-8", _config("training: {}".encode("utf-16"))),
    "config that is a picture": Mistake(PARAMETERS, "UTF-8", _config(b"\x89PNG\r\n")),
    "config that is no YAML": Mistake(PARAMETERS, "is no YAML", _config(b"training: [")),
    "config that is a list": Mistake(PARAMETERS, "groups of parameters", _config(b"- training")),
    "config of another group": Mistake(PARAMETERS, "trainin", _config(b"trainin: {epochs: 1}")),
}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The API of a Prefect server that wants a password, which nobody here has; no Ray either."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
            patch.delenv(name, raising=False)
        server = LocalServer()
        try:
            server.wait()
            yield os.environ["PREFECT_API_URL"]
        finally:
            server.stop()
            for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_UI_URL"):
                os.environ.pop(name, None)


@pytest.fixture
def night(trained: Trained, many_scans: Path, elsewhere: str, tmp_path: Path) -> Night:
    """A model, two scans, and a folder where somebody's file lies."""
    scans = tmp_path / "scans"
    scans.mkdir()
    for path in sorted(many_scans.iterdir())[:2]:
        shutil.copy(path, scans)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.docx").touch()
    return Night(trained.model_uri, scans, tmp_path / "folder", elsewhere)


@pytest.mark.usefixtures("object_stores")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name: str, night: Night) -> None:
    """The exit status fits, the sentence names what was found, and the terminal holds five lines at most."""
    mistake = MISTAKES[name]
    changed = os.environ | {
        variable: value.format(elsewhere=night.elsewhere) for variable, value in mistake.environment.items()
    }
    with output_lock.held(str(night.folder / "locked"), uuid.uuid4().hex):
        run = subprocess.run(
            [LESIONS, *mistake.arguments(night)],
            env={variable: value for variable, value in changed.items() if value},
            capture_output=True,
            text=True,
            check=False,
        )
    told = run.stdout + run.stderr
    assert run.returncode == mistake.status, told
    assert mistake.says in told
    assert "Traceback" not in told
    assert len([line for line in told.splitlines() if line.strip()]) <= MAX_LINES, told
