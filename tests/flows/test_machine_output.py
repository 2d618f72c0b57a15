"""What `--json` and `--debug` print, and that lists and JSON reach the groups they are given for."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.logging.configuration import setup_logging

from flows.__main__ import main
from tasks.core.config.groups import PARAMETER_GROUPS
from tasks.core.handles import DatasetHandle
from tasks.io.outputs import datasets
from tasks.runtime.command_values import INNER_GROUPS, read_config, without_inner_groups
from tests.conftest import PATIENT_ID_PATTERN


@pytest.fixture(scope="module", autouse=True)
def _logging() -> None:
    """Let Prefect's handlers take the standard error of the session, before that of one test is theirs for good."""
    setup_logging()


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["lesions", *arguments])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.ray
@pytest.mark.server
@pytest.mark.usefixtures("ray_session", "prefect_server")
def test_success_is_one_json_object_and_lines_for_people(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], phantoms: Path, tmp_path: Path
) -> None:
    """With --json standard output is the handle and nothing else; without it, the path of the dataset and its size."""
    dataset = str(tmp_path / "dataset")
    command = ["prepare", str(phantoms), dataset, "--preparation.size-px", "64"]
    command += ["--preparation.patient-id-pattern", PATIENT_ID_PATTERN, "--preparation.fractions", "0.5", "0.2", "0.3"]
    assert _main(monkeypatch, *command, "--json") == 0
    handle = DatasetHandle.model_validate(json.loads(capfd.readouterr().out))
    assert (handle.uri, handle.n_slices, handle.n_failed) == (f"file://{dataset}", 40, 0)
    assert datasets.read_card(handle.uri).preparation.fractions.test == 0.3
    assert _main(monkeypatch, *command) == 0
    assert capfd.readouterr().out == f"Dataset: {dataset} (40 slices)\n"


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server")
def test_a_dry_run_says_once_and_in_words_what_it_would_do(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    bright_bundle: str,
    new_scans: Path,
    tmp_path: Path,
) -> None:
    """The plan is one line on standard output and none on standard error; statuses are no codes, zeros are left out."""
    (tmp_path / "scans").mkdir()
    for path in [*new_scans.iterdir()][:2]:
        shutil.copy(path, tmp_path / "scans")
    command = ["segment", bright_bundle, str(tmp_path / "scans"), str(tmp_path / "output"), "--dry-run"]
    assert _main(monkeypatch, *command) == 0
    told = capfd.readouterr()
    assert told.out == "0 scans would be segmented; 2 perhaps still uploading.\n"
    assert "would be segmented" not in told.err
    assert _main(monkeypatch, *command, "--json", "--segmentation.settle-minutes", "0") == 0
    assert len(json.loads(capfd.readouterr().out)["due"]) == 2


@pytest.mark.ray
@pytest.mark.server
@pytest.mark.usefixtures("ray_session", "prefect_server")
def test_an_incomplete_run_says_what_it_published(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], phantoms: Path, tmp_path: Path
) -> None:
    """Exit code 3 comes after the lines of success, and with --json after the handle, beside what was lost."""
    shutil.copytree(phantoms, tmp_path / "source")
    next((tmp_path / "source" / "frames").iterdir()).write_bytes(b"")
    dataset = str(tmp_path / "dataset")
    command = ["prepare", str(tmp_path / "source"), dataset, "--preparation.size-px", "64"]
    command += ["--preparation.patient-id-pattern", PATIENT_ID_PATTERN]
    assert _main(monkeypatch, *command) == 3
    assert capfd.readouterr().out == f"Dataset: {dataset} (39 slices, 1 rejected)\n"
    assert _main(monkeypatch, *command, "--json") == 3
    found = json.loads(capfd.readouterr().out)
    assert (found["error"], found["exit_code"]) == ("IncompleteError", 3)
    assert DatasetHandle.model_validate(found["result"]).n_failed == 1


def test_an_expected_failure_is_one_json_object(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It holds the class of the error, the sentence that standard error has, and the exit code of the command."""
    assert _main(monkeypatch, "train", "a", "b", "--json", "--training.epochs", "0") == 2
    told = capfd.readouterr()
    found = json.loads(told.out)
    assert (found["error"], found["exit_code"]) == ("ConfigError", 2)
    assert "greater than or equal to 1" in found["sentence"]
    assert found["sentence"] in told.err


def test_debug_shows_the_traceback_of_an_expected_end(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The traceback comes first, and the sentence and the exit code are the same."""
    for flags, n_tracebacks in ((["--debug"], 1), ([], 0)):
        assert _main(monkeypatch, *flags, "train", "a", "b", "--config", "/nowhere.yaml") == 2
        told = capfd.readouterr().err
        assert min(1, told.count("Traceback")) == n_tracebacks
        assert told.splitlines()[-1].startswith("ConfigError: Cannot read --config")


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """An interrupted command says that it can be started again, without a traceback, and exits as shells expect."""

    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.__main__.read_config", interrupt)
    assert _main(monkeypatch, "train", "a", "b", "--config", "c.yaml") == 130
    assert capfd.readouterr().err.startswith("Interrupted: Stopped.")


@pytest.fixture
def _as_from_a_terminal() -> Iterator[None]:
    """Let commands hear Ctrl-C although the tests may not: a shell starts what runs in the background deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.ray
@pytest.mark.server
@pytest.mark.usefixtures("_as_from_a_terminal")
def test_ctrl_c_in_a_step_ends_without_a_traceback(phantoms: Path, tmp_path: Path) -> None:
    """A terminal signals all processes of a command; its temporary server lives on until the flow run has ended."""
    command = [sys.executable, "-m", "flows", "prepare", str(phantoms), str(tmp_path / "dataset")]
    command += ["--preparation.patient-id-pattern", PATIENT_ID_PATTERN]
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stderr is not None
        assert any("cluster: 1 node" in line for line in running.stderr)
        os.killpg(running.pid, signal.SIGINT)
        told = running.stderr.read()
        assert running.wait(60) == 130, told
    assert "Interrupted: Stopped." in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "given",
    [
        ["--preparation.fractions", "0.7", "0.1", "0.2"],
        ["--preparation.fractions", "[0.7,0.1,0.2]"],
        ["--preparation.fractions=[0.7, 0.1, 0.2]"],
        ["--preparation.fractions", "0.7,0.1,0.2"],
        ["--preparation.fractions", "0.7", "--preparation.fractions", "0.1", "--preparation.fractions=0.2"],
        ["--preparation.fractions", '{"val": 0.1, "test": 0.2}'],
    ],
    ids=" ".join,
)
def test_a_list_can_be_given_in_every_usual_way(given: list[str], tmp_path: Path) -> None:
    """Numbers, repeated flags and JSON mean what a list in YAML means, and arguments around them stay."""
    rest, groups = without_inner_groups(["prepare", "source", *given, "--preparation.seed", "1", "dataset"])
    assert rest == ["prepare", "source", "--preparation.seed", "1", "dataset"]
    config = tmp_path / "config.yaml"
    config.write_text("preparation: {fractions: [0.7, 0.1, 0.2]}")
    read = [PARAMETER_GROUPS["preparation"].model_validate(one["preparation"]) for one in (groups, read_config(config))]
    assert read[0] == read[1]


@pytest.mark.parametrize("flag", INNER_GROUPS)
def test_every_field_of_several_values_takes_json(flag: str) -> None:
    """JSON of a field's default gives the default."""
    group, name = INNER_GROUPS[flag]
    default = getattr(PARAMETER_GROUPS[group](), name)
    _, groups = without_inner_groups([flag, default.model_dump_json()])
    assert getattr(PARAMETER_GROUPS[group].model_validate(groups[group]), name) == default
