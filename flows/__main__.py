"""Command line `lesions`: one command per flow; its flags are the flows' parameters."""

import contextlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from tasks.core.addresses import scrubbed
from tasks.core.catalog import StepName
from tasks.core.config.groups import PARAMETER_GROUPS
from tasks.core.credentials import require_no_credentials
from tasks.core.errors import ConfigError, LesionWorkflowError
from tasks.engine.cluster.garbage import uncollected

COMMANDS = {
    "demo": ("flows.demo:demo", "Run every step on artificial scans."),
    "run": ("flows.run_pipeline:run_pipeline", "Prepare, train and evaluate, then segment new scans if asked."),
    "prepare": ("flows.prepare_dataset:prepare_dataset", "Make a dataset of labelled slices or volumes."),
    "train": ("flows.train_model:train_model", "Train a model on a dataset."),
    "evaluate": ("flows.evaluate_model:evaluate_model", "Score a model on the patients of a dataset."),
    "segment": ("flows.segment_scans:segment_scans", "Segment every new scan of a folder."),
    "review": ("flows.review_segmentation:review_segmentation", "Package scans to correct, take corrections in."),
    "names": ("flows.names:names", "Show the file names behind hashed scan ids."),
    "doctor": ("flows.doctor:doctor", "Check installation, storage, Ray, Prefect and GPU."),
}
"""Import path of each command, imported when the command is called, so that each loads only its own dependencies; and
its line in the help, for which nothing is imported."""
FLOW_MODULES = {path.partition(":")[0] for path, _ in COMMANDS.values()} - {"flows.doctor", "flows.names"}
"""Modules of the commands that run flows."""
STEP_MODULES: dict[str, StepName] = {COMMANDS[step][0].partition(":")[0]: step for step in get_args(StepName)}
"""Modules of the commands that run one step, with the step: its Ray starts beside Prefect's server."""
SERVER_START_S = 120
"""Start-up timeout of Prefect's temporary server; its default of 20 s is too short on a busy machine."""


def _new_app(*, is_overview: bool) -> App:
    """Return the commands; of an overview each has its line instead of its flow's text, and none is imported."""
    commands = App(
        name="lesions",
        help="Segment lung lesions in CT scans: prepare a dataset, train and evaluate a model, segment new scans.",
        version=lambda: importlib.metadata.version("lung-lesion-workflow"),
        result_action="return_value",
    )
    for name, (path, line) in COMMANDS.items():
        commands.command(path, name=name, help=line if is_overview else None)
    return commands


app = _new_app(is_overview=False)
app.meta.group_parameters = app.group_parameters


@app.meta.default
def _run(*tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], config: Path | None = None) -> None:
    """Run one command.

    Args:
        tokens: The command and its parameters.
        config: YAML file with groups of parameters; flags override it.
    """
    values = _read_config(config) if config else {}
    for text in [*tokens, *_texts(values)]:  # Prefect would store parameters before a flow can refuse them
        require_no_credentials(text.partition("=")[2] if text.startswith("--") else text)
    app.config = Dict(values, use_commands_as_keys=False, allow_unknown=True, source=str(config))
    with uncollected():
        command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    with _started(command.__module__, bound.arguments):
        command(*bound.args, **bound.kwargs)


@contextlib.contextmanager
def _started(module: str, arguments: Mapping[str, Any]) -> Iterator[None]:  # Any: values of any group
    """Start at once what a flow needs on this machine: Prefect's server unless one is configured, and a step's Ray."""
    if module not in FLOW_MODULES:
        yield
        return
    from tasks.engine.jobs.dispatch import ray_ahead  # here, because help and typos need neither Prefect nor Ray
    from tasks.runtime.local_server import begin_local_server, without_heartbeats
    from tasks.runtime.prefect_server import require_server
    from tasks.runtime.run_logging import quieten_states

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # which would leave the server behind
            signal.signal(number, lambda received, _: sys.exit(128 + received))
    quieten_states()
    server = begin_local_server()
    if not server:
        require_server()
    with contextlib.ExitStack() as stack:
        # With a server of the team's, the step may first have to wait for a free slot, and Ray would wait with it.
        if server and module in STEP_MODULES and not arguments.get("dry_run"):
            values = {name: arguments.get(name, PARAMETER_GROUPS[name]()) for name in ("compute", "training")}
            stack.enter_context(ray_ahead(STEP_MODULES[module], **values))
        if server:
            server.wait()
            stack.enter_context(without_heartbeats())
        yield


def _texts(values: Any) -> Iterator[str]:  # Any: YAML
    """Yield every text of a YAML file."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _texts(value)


def _read_config(path: Path) -> dict[str, Any]:  # Any: values of any group
    """Return the parameter groups of a YAML file, validated, so that a misspelt name is an error."""
    try:
        groups = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except UnicodeDecodeError as err:
        raise ConfigError(f"--config {path} is not UTF-8 (byte {err.start}). Save it as UTF-8.") from err
    except OSError as err:
        raise ConfigError(f"Cannot read --config {path}: {err.strerror}.") from err
    except (yaml.YAMLError, ValueError, RecursionError) as err:  # of dates, of NUL in the path, of brackets
        raise ConfigError(f"--config {path} is no YAML: {' '.join(str(err).split())}.") from err
    if not isinstance(groups, dict) or not all(isinstance(values, dict) for values in groups.values()):
        raise ConfigError(f"--config {path} must hold groups of parameters, as `training:` with `epochs: 10` below it.")
    unknown = [name for name in groups if name not in PARAMETER_GROUPS]
    if unknown:
        raise ConfigError(f"{path} holds the groups {unknown}; known are {', '.join(PARAMETER_GROUPS)}.")
    for name, values in groups.items():
        PARAMETER_GROUPS[name].model_validate(values)
    return groups


def main() -> None:
    """Run the command line and exit with the code of its outcome (see `tasks/core/errors.py`)."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", str(SERVER_START_S))
    console = Console(stderr=True)
    if sys.argv[1:] in ([], ["--help"], ["-h"]):
        _new_app(is_overview=True).help_print([])
        return
    try:
        app.meta(sys.argv[1:], exit_on_error=False, print_error=False)
    except LesionWorkflowError as err:
        _tell(console, type(err).__name__, str(err))
        sys.exit(err.exit_code)
    except (CycloptsError, ValidationError) as err:
        cause = err.__cause__ or err.__context__ if isinstance(err, CycloptsError) else err
        sentence = _explain(cause) if isinstance(cause, ValidationError) else str(err)
        _tell(console, "Bad parameters", sentence)
        sys.exit(ConfigError.exit_code)


def _tell(console: Console, name: str, sentence: str) -> None:
    """Print the end of a command: one line, which the terminal wraps, so that logs and searches find it whole."""
    console.print(f"[bold red]{name}[/]:", Text(sentence), highlight=False, soft_wrap=True)


def _explain(err: ValidationError) -> str:
    """Return one line per bad parameter, under its flag's name: what was found and what was expected."""
    group = next((name for name, model in PARAMETER_GROUPS.items() if model.__name__ == err.title), err.title)
    lines = []
    for problem in err.errors():
        name, reason = ".".join([group, *map(str, problem["loc"])]), problem["msg"].removeprefix("Value error, ")
        found = f" is {scrubbed(repr(problem['input']))}" if problem["loc"] else ""  # else it is the whole group
        lines.append(f"{name}{found}: {reason}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
