"""Command line `lesions`: one command per flow; its flags are the flows' parameters."""

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import App, Parameter
from cyclopts.config import Dict

from tasks.core.catalog import StepName
from tasks.core.config.groups import PARAMETER_GROUPS
from tasks.core.credentials import require_no_credentials
from tasks.core.errors import IncompleteError
from tasks.core.handles import Diagnosis
from tasks.engine.cluster.garbage import uncollected
from tasks.runtime.closing_lines import as_json, closing_lines
from tasks.runtime.command_ends import A_BUG, End, end_of, machine_output, show_traceback
from tasks.runtime.command_values import merged, read_config, require_groups_of, texts, without_inner_groups
from tasks.runtime.signals import exit_on_signals

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
        help="Segment lung lesions in CT scans: prepare a dataset, train and evaluate a model, segment new scans.\n\n"
        "Every command also takes --config FILE.yaml, --json and --debug; COMMAND --help describes its flags.",
        version=lambda: importlib.metadata.version("lung-lesion-workflow"),
        result_action="return_value",
    )
    for name, (path, line) in COMMANDS.items():
        commands.command(path, name=name, help=line if is_overview else None)
    commands.register_install_completion_command(help="Install completion of commands and flags in this shell.")
    return commands


app = _new_app(is_overview=False)
app.meta.group_parameters = app.group_parameters
app.meta.suppress_keyboard_interrupt = False  # cyclopts would exit without a word


@app.meta.default
def _run(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Path | None = None,
    is_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    is_debug: Annotated[bool, Parameter(name="--debug", negative=())] = False,
) -> Any:  # Any: what any flow returns
    """Run one command.

    Args:
        tokens: The command and its parameters.
        config: YAML file with groups of parameters; flags override it.
        is_json: Print the outcome as one JSON object on standard output, and all else on standard error.
        is_debug: Show the traceback of every error, also of expected ones.
    """
    values = read_config(config) if config else {}
    for text in [*tokens, *texts(values)]:  # Prefect would store parameters before a flow can refuse them
        require_no_credentials(text.partition("=")[2] if text.startswith("--") else text)
    rest, inner = without_inner_groups(tokens)
    values = merged(values, inner)
    app.config = Dict(values, use_commands_as_keys=False, allow_unknown=True, source=str(config or "the command line"))
    with uncollected():
        command, bound, _ = app.parse_args(rest, exit_on_error=False, print_error=False)
    require_groups_of(command, inner)
    if command.__module__ in FLOW_MODULES:
        from tasks.runtime.inputs import require_inputs_of  # here, because help and typos need no storage

        require_inputs_of(command.__module__, bound.arguments)
    with _started(command.__module__, bound.arguments, is_debug=is_debug):
        incomplete: IncompleteError | None = None
        try:
            result = command(*bound.args, **bound.kwargs)
        except IncompleteError as err:
            result, incomplete = err.result, err
    if not is_json:
        for line in closing_lines(command.__module__, result, bound.arguments):
            sys.stdout.write(f"{line}\n")
    if incomplete:
        raise incomplete
    return result


@contextlib.contextmanager
def _started(
    module: str, arguments: Mapping[str, Any], *, is_debug: bool
) -> Iterator[None]:  # Any: values of any group
    """Start at once what a flow needs on this machine: Prefect's server unless one is configured, and a step's Ray."""
    if module not in FLOW_MODULES:
        yield
        return
    from tasks.engine.jobs.dispatch import ray_ahead  # here, because help and typos need neither Prefect nor Ray
    from tasks.runtime.live_line import live_line
    from tasks.runtime.local_server import begin_local_server, without_heartbeats
    from tasks.runtime.prefect_server import require_server
    from tasks.runtime.run_logging import quieten_states, show_all

    if is_debug:
        show_all()
    else:
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
        stack.enter_context(live_line())
        yield


def main() -> None:
    """Run the command line and exit with the code of its outcome (see `tasks/core/errors.py`)."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")  # or Prefect's client sends usage data from a terminal
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", str(SERVER_START_S))
    arguments = sys.argv[1:]
    if arguments in ([], ["--help"], ["-h"]):
        _new_app(is_overview=True).help_print([])
        return
    exit_on_signals()
    is_json, is_debug = "--json" in arguments, "--debug" in arguments  # of commands that cannot be parsed, too
    with machine_output() if is_json else contextlib.nullcontext() as answer:
        exit_code = _outcome(arguments, answer, is_debug=is_debug)
    if exit_code:
        sys.exit(exit_code)


def _outcome(arguments: Sequence[str], answer: Callable[[str], None] | None, *, is_debug: bool) -> int:
    """Run the command, show how it ended, and return its exit code.

    Args:
        arguments: Those of the command line.
        answer: Takes the outcome as JSON, if it is asked for.
        is_debug: Whether tracebacks of expected errors are shown.
    """
    try:
        result = app.meta(arguments, exit_on_error=False, print_error=False)
    except (Exception, KeyboardInterrupt, SystemExit) as err:  # of a bug, the traceback is what helps
        end = end_of(err)
        if answer:
            answer((end or End("", type(err).__name__, A_BUG, 1)).to_json())
        if end is None:
            raise
        if is_debug:
            show_traceback(err)
        end.show()
        return end.exit_code
    if answer:
        answer(as_json(result))
    return result.exit_code if isinstance(result, Diagnosis) else 0


if __name__ == "__main__":
    main()
