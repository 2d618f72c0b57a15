import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace

import psutil
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from flows.__main__ import COMMANDS, main
from tasks.core.config.forms import FormModel
from tasks.core.config.groups import PARAMETER_GROUPS
from tasks.engine.jobs import dispatch
from tasks.runtime import local_server
from tasks.runtime.doctor import CHECKS

PRESETS = Path(__file__).parents[2] / "infra" / "presets"


def _exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `lesions` with these arguments and return what the shell would see."""
    monkeypatch.setattr("sys.argv", ["lesions", *arguments])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "a", "b", "--training.epochs", "0"], "greater than or equal to 1"),
        (["train", "a", "b", "--model.backbone", "resnet35"], "Closest: resnet34"),
        (["train", "a", "b", "--training.loss", "l2"], "l2"),
        (["train", "a", "b", "--no-such-flag", "1"], "no-such-flag"),
        (["prepare", "a", "b", "--preparation.size-px", "100"], "multiple of 32"),
        (["prepare", "a", "b", "--preparation.fractions.val", "0.9"], "for training"),
        (["prepare", "a", "b", "--preparation.patient-id-pattern", "(oops"], "not a regular expression"),
        (["prepare", "a", "b", "--preparation.patient-id-pattern", "x"], "(?P<patient>"),
        (["segment", "a"], "scans"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_bad_parameters_exit_2_and_say_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    """A parameter that cannot work is named before anything starts, and the exit code is 2."""
    assert _exit_code(monkeypatch, *arguments) == 2
    told = capsys.readouterr().err
    assert sentence.lower() in " ".join(told.replace("│", " ").split()).lower()
    assert "Traceback" not in told


@pytest.mark.parametrize("address", [path for path, _ in COMMANDS.values()], ids=COMMANDS)
def test_flow_takes_groups_under_their_shared_names(address: str) -> None:
    """A group has the same name and type in every flow, a default, and a description in the docstring."""
    flow = resolve_name(address)
    parameters = inspect.signature(flow).parameters
    for name, parameter in parameters.items():
        assert f"{name}: " in flow.__doc__
        if isinstance(parameter.default, FormModel):
            assert PARAMETER_GROUPS[name] is type(parameter.default)


@pytest.mark.parametrize("group", PARAMETER_GROUPS.values(), ids=PARAMETER_GROUPS)
def test_form_shows_fields_in_order_with_title_and_description(group: type[FormModel]) -> None:
    """Each field has a position, title and description; a unit in the title is in the description too."""
    schema = group.model_json_schema()
    assert schema["additionalProperties"] is False
    for position, (name, field) in enumerate(schema["properties"].items()):
        assert field["position"] == position
        assert field["title"], name
        assert field["description"], name
        for unit in ("px", "min", "degrees", "fraction", "probability"):
            if f"({unit})" in field["title"]:
                assert unit in field["description"].lower(), name


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_hold_known_groups(preset: Path) -> None:
    """Every preset is a file of groups that validate."""
    for name, values in yaml.safe_load(preset.read_text()).items():
        assert values.keys() <= PARAMETER_GROUPS[name].model_validate(values).model_fields_set


def test_classic_preset_is_the_original_brief() -> None:
    """The preset holds the brief's recipe: leaky 72/8/20 split, BCE, batch 32, four epochs, threshold one half."""
    groups = yaml.safe_load((PRESETS / "classic.yaml").read_text())
    preparation = PARAMETER_GROUPS["preparation"].model_validate(groups["preparation"])
    training = PARAMETER_GROUPS["training"].model_validate(groups["training"])
    assert preparation.strategy == "slice"
    assert (preparation.fractions.train, preparation.fractions.val, preparation.fractions.test) == pytest.approx(
        (0.72, 0.08, 0.20)
    )
    assert (training.loss, training.batch_size, training.epochs, training.threshold) == ("bce", 32, 4, 0.5)


@pytest.mark.ray
@pytest.mark.server
def test_config_file_fills_flags_and_flags_win(
    monkeypatch: pytest.MonkeyPatch, prefect_server: None, phantoms: Path, tmp_path: Path
) -> None:
    """Values of --config reach the flow, a flag wins over them, and other commands' groups are let be."""
    config = tmp_path / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "preparation": {
                    "size_px": 32,
                    "seed": 5,
                    "patient_id_pattern": r"^(?P<patient>phantom_\d+)_(?P<slice>\d+)$",
                    "fractions": [0.6, 0.2, 0.2],
                },
                "training": {"epochs": 3},
            }
        )
    )
    dataset = tmp_path / "dataset"
    arguments = ["prepare", str(phantoms), str(dataset), "--config", str(config), "--preparation.size-px", "64"]
    assert _exit_code(monkeypatch, *arguments) == 0
    from tasks.io.outputs import datasets

    preparation = datasets.read_card(str(dataset)).preparation
    assert (preparation.size_px, preparation.seed, preparation.fractions.test) == (64, 5, 0.2)


@pytest.mark.parametrize(
    "content",
    [
        b"trainin: {epochs: 1}",
        b"training: {epoch: 1}",
        b"training: [",
        b"training: 3",
        b"- training",
        "training: {}".encode("utf-16"),
        b"\x89PNG\r\n",
        b"training: {epochs: 2026-13-45}",
        b"[" * 3000,
    ],
)
def test_typos_in_a_config_file_are_errors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    """A group, field, syntax or encoding that is not known ends with exit code 2 and is not ignored."""
    config = tmp_path / "config.yaml"
    config.write_bytes(content)
    assert _exit_code(monkeypatch, "train", "a", "b", "--config", str(config)) == 2


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server")
def test_exit_codes_of_what_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """A name at which nothing exists, or no bundle, is a bad parameter (2); no traceback."""
    nowhere = str(tmp_path / "nowhere")
    assert _exit_code(monkeypatch, "prepare", nowhere, str(tmp_path / "dataset")) == 2
    assert _exit_code(monkeypatch, "segment", nowhere, nowhere, str(tmp_path / "output")) == 2
    assert "holds no model.json" in " ".join(capfd.readouterr().err.split())
    assert "Finished in state" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server")
def test_credentials_in_an_address_exit_2_and_are_told_nowhere(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """An address with a password or token is refused before anything starts; terminal and log do not repeat them."""
    for address in ("https://user:hunter2@host/a", "https://host/a?token=hunter2"):
        assert _exit_code(monkeypatch, "segment", address, "scans", "output") == 2
    with get_client(sync_client=True) as client:
        assert "hunter2" not in str([run.parameters for run in client.read_flow_runs()])
    told = capfd.readouterr()
    assert "through the environment" in " ".join(told.err.split())
    assert "hunter2" not in told.out + told.err + caplog.text


@pytest.mark.ray
@pytest.mark.server
@pytest.mark.usefixtures("ray_session", "prefect_server", "bright_step")
def test_incomplete_run_exits_3(monkeypatch: pytest.MonkeyPatch, bright_bundle: str, tmp_path: Path) -> None:
    """A run that lost a scan exits 3 after publishing the rest."""
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "bad.png").write_bytes(b"no picture")
    arguments = ["segment", bright_bundle, str(tmp_path / "scans"), str(tmp_path / "output")]
    assert _exit_code(monkeypatch, *arguments, "--segmentation.settle-minutes", "0") == 3
    assert (tmp_path / "output" / "manifest.json").exists()


def _lesions(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `lesions` as a shell would, with further variables; empty ones are unset."""
    changed = {key: value for key, value in (os.environ | environment).items() if value}
    command = [sys.executable, "-m", "flows", *arguments]
    return subprocess.run(command, env=changed, capture_output=True, text=True, check=False)


def _one_sentence(told: str, name: str) -> str:
    """Return what stands after the name of the error, which has to be all that is told but for log lines."""
    assert "Traceback" not in told
    before, after = told.split(f"{name}:")
    assert "Error" not in before
    return " ".join(after.split())


def test_a_configured_server_that_is_not_there_is_one_line(bright_bundle: str, phantoms: Path, tmp_path: Path) -> None:
    """It is asked before the flow begins, whose client would end in a hundred lines."""
    arguments = ("segment", bright_bundle, str(phantoms), str(tmp_path))
    run = _lesions(*arguments, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert run.returncode == 5, run.stderr
    assert _one_sentence(run.stderr, "ServerError").startswith("http://127.0.0.1:9/api does not respond")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.server
def test_a_server_that_does_not_start_exits_5(phantoms: Path, tmp_path: Path) -> None:
    """Where Prefect's temporary server is too slow to start, twice, one sentence says so and the exit code is 5."""
    run = _lesions(
        *("run", str(phantoms), str(tmp_path / "out")),
        PREFECT_API_URL="",
        PREFECT_HOME=str(tmp_path / "home"),
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="1",
    )
    assert run.returncode == 5, run.stderr
    sentence = _one_sentence(run.stderr, "ServerError")
    assert "within 1 s, 2 times" in sentence
    assert "PREFECT_API_URL" in sentence


@pytest.mark.ray
@pytest.mark.server
def test_a_server_that_does_not_start_leaves_no_ray(bright_bundle: str, phantoms: Path, tmp_path: Path) -> None:
    """Where a step's Ray has started beside a server that fails, the sentence is the same and nothing is left."""
    run = _lesions(
        *("segment", bright_bundle, str(phantoms), str(tmp_path / "out")),
        PREFECT_API_URL="",
        PREFECT_HOME=str(tmp_path / "home"),
        PREFECT_SERVER_DATABASE_CONNECTION_URL=f"sqlite+aiosqlite:///{tmp_path}/nowhere/prefect.db",
        LESIONS_MARK=str(tmp_path),
    )
    assert run.returncode == 5, run.stderr
    assert "ServerError: Prefect's temporary server ended as it started" in " ".join(run.stderr.split())
    _, left = psutil.wait_procs([p for p in psutil.process_iter() if _mark(p) == str(tmp_path)], timeout=10)
    assert not left


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("LESIONS_MARK")
    except psutil.Error:  # another user's, or gone meanwhile
        return None


@pytest.mark.ray
@pytest.mark.server
def test_a_local_ray_that_does_not_start_exits_5(prefect_server: None, phantoms: Path, tmp_path: Path) -> None:
    """Where a Ray of this machine is too slow to start, twice, one sentence says so and the exit code is 5."""
    run = _lesions(
        *("run", str(phantoms), str(tmp_path / "out")),
        PREFECT_API_URL=PREFECT_API_URL.value() or "",
        RAY_gcs_server_port_wait_time_s="0",
    )
    assert run.returncode == 5, run.stderr
    sentence = run.stderr[run.stderr.rindex("ClusterError:") :]
    assert "Ray did not start on this machine, 2 times" in " ".join(sentence.split())


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server")
def test_what_needs_no_ray_starts_none(
    monkeypatch: pytest.MonkeyPatch, bright_bundle: str, phantoms: Path, tmp_path: Path
) -> None:
    """A step has one before its flow begins; a dry run, a step that may have to wait and a wrong address have none."""
    asked: list[str] = []

    def ray_ahead(step: str, **_: object) -> contextlib.AbstractContextManager[None]:
        asked.append(step)
        return contextlib.nullcontext()

    monkeypatch.setattr(dispatch, "ray_ahead", ray_ahead)
    arguments = ["segment", bright_bundle, str(phantoms), str(phantoms / "output")]  # refused by the flow
    assert _exit_code(monkeypatch, *arguments) == 2  # a server is configured
    monkeypatch.setattr(local_server, "begin_local_server", lambda: SimpleNamespace(wait=lambda: None))
    assert _exit_code(monkeypatch, *arguments, "--dry-run") == 2
    assert _exit_code(monkeypatch, "segment", str(tmp_path), str(phantoms), str(tmp_path / "output")) == 2
    assert not asked
    assert _exit_code(monkeypatch, *arguments) == 2
    assert asked == ["segment"]


@pytest.mark.server
def test_a_command_that_is_terminated_leaves_no_server(
    monkeypatch: pytest.MonkeyPatch, phantoms: Path, tmp_path: Path
) -> None:
    """While its temporary server still starts, SIGTERM ends the command, and the server with it; --json says so."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    arguments = ("run", str(phantoms), str(tmp_path / "output"), "--json")
    with subprocess.Popen(
        [sys.executable, "-m", "flows", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert any("Starting temporary server" in line for line in command.stderr)
        while not (children := psutil.Process(command.pid).children()):
            time.sleep(0.01)
        command.terminate()
        assert command.wait(30) == 128 + signal.SIGTERM
        assert not any(child.is_running() for child in children)
        assert json.loads(command.stdout.read())["exit_code"] == 128 + signal.SIGTERM
        assert "Terminated: Stopped." in command.stderr.read()


@pytest.mark.ray
def test_doctor_finds_this_machine_well(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], ray_session: None
) -> None:
    """On a machine where the tests run, the doctor finds nothing wrong; machines get every check with its sentence."""
    assert _exit_code(monkeypatch, "doctor", "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["checks"].keys() == CHECKS.keys()
    assert all(check["is_well"] and check["sentence"] for check in found["checks"].values())


def test_a_check_that_fails_exits_5(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The other checks are made all the same, and --json holds them with the exit code."""
    for name in ("Ray", "Prefect", "install"):
        monkeypatch.delitem(CHECKS, name)
    monkeypatch.setenv("LESIONS_SCANS_URI", "/nowhere")
    assert _exit_code(monkeypatch, "doctor", "--json") == 5
    found = json.loads(capfd.readouterr().out)
    assert {name: check["is_well"] for name, check in found["checks"].items()} == {"storage": True, "addresses": False}
    assert found["exit_code"] == 5


def test_overview_says_what_each_command_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked for nothing or for help, the command line lists every command with its line, and exits with 0."""
    for arguments in ([], ["--help"]):
        monkeypatch.setattr("sys.argv", ["lesions", *arguments])
        main()
        told = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for name, (_, line) in COMMANDS.items():
            assert f"{name} {line}" in told
