"""Mistakes of users, made as commands: one useful sentence on standard error, the right exit code, no traceback."""

import logging
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.logging.configuration import setup_logging

from flows.__main__ import main
from tasks.io import output_lock
from tasks.runtime import local_server
from tests.core.samples import DATASET, MANIFEST

BAD_PARAMETERS, LOCKED = 2, 4
HUNTER = "hunter2"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A command that cannot do.

    Attributes:
        command: Arguments of `lesions`; `{bundle}`, `{source}` and `{folder}` are filled in.
        says: What the sentence must hold.
        status: Exit code it must have.
    """

    command: str
    says: str
    status: int = BAD_PARAMETERS


AT_ONCE = {
    "command": Mistake("segmnt a b c", 'Did you mean "segment"?'),
    "flag": Mistake("train a b --training.epoch 3", "Did you mean --training.epochs?"),
    "group of a flag": Mistake("train a b --trainin.epochs 3", "Did you mean --training.epochs?"),
    "general flag": Mistake("train a b --confg x.yaml", "Did you mean --config?"),
    "general flag before the command": Mistake("--debgu train a b", "Did you mean --debug?"),
    "flag of another command": Mistake("segment a b c --training.epochs 3", "Unknown option: --training.epochs"),
    "list for another command": Mistake(
        "train a b --preparation.fractions 0.7 0.1 0.2", "Unknown option: --preparation.fractions"
    ),
    "split": Mistake("evaluate a b c --split tset", 'Did you mean "test"?'),
    "choice": Mistake("train a b --training.loss bce_dise", "Did you mean bce_dice?"),
    "cut choice": Mistake("train a b --training.schedule warmup", "Did you mean warmup_cosine?"),
    "choice of an inner group": Mistake("prepare a b --preparation.hu.mapping windw", "Did you mean window?"),
    "word for a number": Mistake("train a b --training.epochs ten", "training.epochs is 'ten'"),
    "flag without its value": Mistake("train a b --training.epochs", "requires an argument"),
    "argument too many": Mistake("segment a b c d", "Unexpected 'd'"),
    "value of a switch": Mistake("segment a b c --segmentation.force maybe", "a switch takes no value"),
    "one fraction": Mistake("prepare a b --preparation.fractions 0.7", "three numbers [train, val, test]"),
    "fractions above one": Mistake("prepare a b --preparation.fractions 0.7 0.2 0.2", "add up to 1"),
    "fractions without any": Mistake("prepare a b --preparation.fractions", "requires an argument"),
    "cut JSON": Mistake('prepare a b --preparation.hu {"mapping"', "is no JSON"),
    "key in JSON": Mistake('prepare a b --preparation.hu {"maping":1}', "Did you mean mapping?"),
    "threshold above one": Mistake("segment a b c --segmentation.threshold 1.5", "less than 1"),
    "threshold that is no number": Mistake("segment a b c --segmentation.threshold nan", "finite"),
    "negative time": Mistake("segment a b c --segmentation.settle-minutes -1", "greater than or equal to 0"),
    "cut expression": Mistake("segment a b c --segmentation.stack-pattern (?P<scan>.+", "not a regular expression"),
    "expression without a group": Mistake("segment a b c --segmentation.stack-pattern (?P<scan>.+)", "(?P<slice>"),
    "Ray Client": Mistake("segment a b c --compute.ray-address ray://head:10001", "HEAD:8265"),
    "GPUs of nobody": Mistake("segment a b c --compute.gpus 2", "no cluster is named"),
    "batch that cannot be shared": Mistake(
        "train a b --training.batch-size 10 --training.num-workers 3", "must be a multiple of num_workers"
    ),
    "per cent for a fraction": Mistake(
        "train a b --training.operating-point min_recall --training.operating-value 80", "For 80 % set 0.8"
    ),
    "tab in YAML": Mistake("train a b --config {folder}/tab.yaml", "is no YAML"),
    "group in YAML": Mistake("train a b --config {folder}/group.yaml", "Did you mean training?"),
    "field in YAML": Mistake("train a b --config {folder}/field.yaml", "Did you mean epochs?"),
    "folder for YAML": Mistake("train a b --config {folder}", "Is a directory"),
    "password in YAML": Mistake("train a b --config {folder}/password.yaml", "through the environment"),
    "password of weights": Mistake(f"train a b --model.encoder-weights https://u:{HUNTER}@h/w.h5", "environment"),
    "password of a cluster": Mistake(f"segment a b c --compute.ray-address http://u:{HUNTER}@h:8265", "environment"),
    "names without a key": Mistake("names {folder}/segmentation", "LESIONS_ID_KEY"),
    "names of no segmentation": Mistake("names {folder}", "Did you mean file://{folder}/segmentation?"),
    "shell": Mistake("--install-completion --shell tcsh", "Choose from"),
}
"""Mistakes that are found before any server starts."""

OF_INPUTS = {
    "no source": Mistake("prepare {folder}/nowhere {folder}/new", "Nothing exists at"),
    "no source of a pipeline": Mistake("run {folder}/nowhere {folder}/new", "Nothing exists at"),
    "no scans of a pipeline": Mistake("run {source} {folder}/new {folder}/nowhere", "Nothing exists at"),
    "no dataset": Mistake("train {folder}/nowhere {folder}/new", "holds no dataset.json"),
    "scans for a dataset": Mistake("train {source} {folder}/new", "holds no dataset.json"),
    "cut dataset": Mistake("train {folder}/cut {folder}/new", "is damaged"),
    "no scans": Mistake("segment {bundle} {folder}/nowhere {folder}/new", "Nothing exists at"),
    "no bundle": Mistake("segment {source} {source}/frames {folder}/new", "holds no model.json"),
    "no bundle for a dry run": Mistake("segment {source} {source}/frames {folder}/new --dry-run", "holds no model"),
    "damaged bundle": Mistake("segment {folder}/bundle {source}/frames {folder}/new", "is damaged"),
    "dataset for a bundle": Mistake("evaluate {folder}/dataset {folder}/dataset {folder}/new", "holds no model.json"),
    "store": Mistake("segment {bundle} gss://bucket/a {folder}/new", "gss:// is not read"),
    "half a store": Mistake("segment {bundle} s3:/bucket/a {folder}/new", "Did you mean s3://bucket/a?"),
    "no slashes": Mistake("segment {bundle} gs:bucket/a {folder}/new", "Did you mean gs://bucket/a?"),
}
"""Mistakes in an address that is read, found before any server starts."""

IN_A_FLOW = {
    "output is a file": Mistake("segment {bundle} {source}/frames {folder}/file", "is a file"),
    "output in the scans": Mistake("segment {bundle} {source}/frames {source}/frames/out", "taken for scans"),
    "report among files of others": Mistake("evaluate {bundle} {folder}/dataset {folder}", "no run of ours wrote"),
    "review of the parent": Mistake("review {folder}", "Did you mean file://{folder}/segmentation?"),
    "empty source": Mistake("prepare {folder}/empty {folder}/new", "frames/ or images/ beside masks/"),
    "source without masks": Mistake("prepare {folder}/images {folder}/new", "of the expected ones frames"),
    "BatchNorm of no start": Mistake(
        "train {folder}/dataset {folder}/new --training.freeze-batchnorm", "model.start_from"
    ),
    "start where it ends": Mistake(
        "train {folder}/dataset {folder}/new --model.start-from {folder}/new", "Write it elsewhere"
    ),
    "start from no bundle": Mistake(
        "train {folder}/dataset {folder}/new --model.start-from {folder}", "holds no model.json"
    ),
}
"""Mistakes that a flow finds before it starts a cluster."""

IN_A_STEP = {
    "locked output": Mistake("segment {bundle} {source}/frames {folder}/locked", "is held by run", LOCKED),
}
"""Mistakes that a step finds."""


@pytest.fixture(scope="module", autouse=True)
def _logging() -> None:
    """Let Prefect's handlers take the standard error of the session, before that of one test is theirs for good."""
    setup_logging()


@pytest.fixture
def folder(phantoms: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with what users have by mistake, and an output that another run holds."""
    files = {
        "file": "",
        "tab.yaml": "training:\n\tepochs: 3\n",
        "group.yaml": "trainin: {epochs: 1}",
        "field.yaml": "training: {epoch: 1}",
        "password.yaml": f"model: {{encoder_weights: 'https://u:{HUNTER}@h/w.h5'}}",
        "cut/dataset.json": "{",
        "bundle/model.json": "{}",
        "dataset/dataset.json": DATASET.model_dump_json(),
        "segmentation/manifest.json": MANIFEST.model_dump_json(),
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    (tmp_path / "empty").mkdir()
    shutil.copytree(phantoms / "frames", tmp_path / "images" / "frames")
    with output_lock.held(str(tmp_path / "locked"), uuid.uuid4().hex):
        yield tmp_path


def _filled(argument: str, places: Mapping[str, object]) -> str:
    """Return an argument with the names of places replaced; JSON has braces, too."""
    for name, place in places.items():
        argument = argument.replace(f"{{{name}}}", str(place))
    return argument


@dataclass(frozen=True, slots=True)
class Shell:
    """What runs commands and holds against a mistake what they print."""

    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture

    def check(self, mistake: Mistake, **places: object) -> None:
        """Make the mistake, and check what a user sees."""
        command = [_filled(argument, places) for argument in mistake.command.split()]
        self.monkeypatch.setattr("sys.argv", ["lesions", *command])
        with pytest.raises(SystemExit) as stop:
            main()
        told = self.capfd.readouterr()
        assert stop.value.code == mistake.status, told.err
        assert _filled(mistake.says, places) in " ".join(told.err.split())
        assert "Traceback" not in told.err
        assert HUNTER not in told.out + told.err
        assert not told.out
        sentences = [line for line in told.err.splitlines() if line.strip() and " | INFO " not in line]
        assert len(sentences) == 1, told.err
        own = [record for record in self.caplog.records if record.thread == threading.get_ident()]  # not Prefect's
        assert not [record for record in own if record.levelno >= logging.WARNING or record.exc_info], self.caplog.text


@pytest.fixture
def shell(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Shell:
    """A shell without a key."""
    monkeypatch.delenv("LESIONS_ID_KEY", raising=False)
    return Shell(monkeypatch, capfd, caplog)


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_mistake_on_the_command_line_is_one_sentence(name: str, shell: Shell, folder: Path) -> None:
    """What no flow can be asked ends before anything starts, with the nearest name where one is misspelt."""
    shell.check(AT_ONCE[name], folder=folder)


@pytest.mark.parametrize("name", OF_INPUTS)
def test_a_mistake_in_an_input_is_one_sentence(
    name: str, shell: Shell, folder: Path, phantoms: Path, bright_bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there, or is something else, is said before a server or Ray starts, and nothing is written."""
    monkeypatch.setattr(local_server, "begin_local_server", _never)
    shell.check(OF_INPUTS[name], folder=folder, source=phantoms, bundle=bright_bundle)
    assert not (folder / "new").exists()


def _never() -> None:
    raise AssertionError("a server was started")


@pytest.mark.parametrize("name", ["command", "no bundle", "fractions above one"])
def test_a_shell_sees_the_same(name: str, folder: Path, phantoms: Path) -> None:
    """A process of its own ends with the exit code and one line on standard error, as the tests in one process do."""
    mistake = (AT_ONCE | OF_INPUTS)[name]
    command = [_filled(argument, {"folder": folder, "source": phantoms}) for argument in mistake.command.split()]
    run = subprocess.run([sys.executable, "-m", "flows", *command], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (mistake.status, ""), run.stderr
    assert mistake.says in run.stderr
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.server
@pytest.mark.parametrize("name", IN_A_FLOW)
def test_a_mistake_in_an_address_is_one_sentence(
    name: str, shell: Shell, folder: Path, prefect_server: None, phantoms: Path, bright_bundle: str
) -> None:
    """What lies, or does not lie, at an address is said by the flow's first lines."""
    shell.check(IN_A_FLOW[name], folder=folder, source=phantoms, bundle=bright_bundle)


@pytest.mark.ray
@pytest.mark.server
@pytest.mark.usefixtures("ray_session", "prefect_server", "bright_step")
@pytest.mark.parametrize("name", IN_A_STEP)
def test_a_mistake_that_a_step_finds_is_one_sentence(
    name: str, shell: Shell, folder: Path, phantoms: Path, bright_bundle: str
) -> None:
    """What only the step can see ends without a traceback of Prefect's or Ray's."""
    shell.check(IN_A_STEP[name], folder=folder, source=phantoms, bundle=bright_bundle)
