"""Ends of a command: the sentence and exit code of an expected error, and the output for machines."""

import contextlib
import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cyclopts import CycloptsError, UnusedCliTokensError
from cyclopts.completion.detect import ShellDetectionError
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.text import Text

from tasks.core.addresses import scrubbed
from tasks.core.config.groups import PARAMETER_GROUPS
from tasks.core.errors import ConfigError, IncompleteError, LesionWorkflowError
from tasks.core.record import Record
from tasks.runtime.nearest import did_you_mean
from tasks.runtime.signals import TO_END
from tasks.runtime.tracebacks import redacted_traceback

BAD_PARAMETERS: Final = "Bad parameters"
A_BUG: Final = "This is a bug; its traceback is on standard error."
INTERRUPTED_EXIT: Final = 130
"""Exit code of a command that Ctrl-C ends, as shells have it: 128 + SIGINT."""
STOPPED: Final = "Stopped. What was finished is recorded; start the command again to continue."
_EXITS: Final = {128 + number: 128 + number for number in TO_END} | {signal.SIGTERM: 128 + signal.SIGTERM}
"""Exit codes of a command that is told to end, likewise; once it has started, Ray exits with the bare number."""

GENERAL_FLAGS: Final = ("--config", "--debug", "--help", "--json", "--version", "--install-completion")
"""Flags of every command."""

_FLAG: Final = re.compile(r"--[\w.-]*\w")
_QUOTED: Final = re.compile(r"'([^']*)'")


@dataclass(frozen=True, slots=True)
class End:
    """Expected end of a command.

    Attributes:
        title: What stands before the sentence.
        name: Class of the error, for machines.
        sentence: What was found, what was expected and what to do.
        exit_code: Of the command.
        result: Handle of what an incomplete command published.
    """

    title: str
    name: str
    sentence: str
    exit_code: int
    result: Record | None = None

    def show(self) -> None:
        """Print the end: one line, which the terminal wraps, so that logs and searches find it whole."""
        console = Console(stderr=True)
        console.print(f"[bold red]{self.title}[/]:", Text(self.sentence), highlight=False, soft_wrap=True)

    def to_json(self) -> str:
        """Return the end for machines."""
        found: dict[str, object] = {"error": self.name, "sentence": self.sentence, "exit_code": self.exit_code}
        if self.result is not None:
            found["result"] = self.result.model_dump(mode="json")
        return json.dumps(found)


def end_of(err: BaseException) -> End | None:
    """Return the end that an error means; None for a bug, whose traceback is what helps."""
    if isinstance(err, LesionWorkflowError):
        result = err.result if isinstance(err, IncompleteError) else None
        return End(type(err).__name__, type(err).__name__, str(err), err.exit_code, result)
    if isinstance(err, KeyboardInterrupt):
        return End("Interrupted", "KeyboardInterrupt", STOPPED, INTERRUPTED_EXIT)
    if isinstance(err, SystemExit) and err.code in _EXITS:
        return End("Terminated", "SystemExit", STOPPED, _EXITS[err.code])
    if isinstance(err, ShellDetectionError):
        sentence = f"{' '.join(str(err).split())} Name it, as --install-completion --shell bash."
        return End(BAD_PARAMETERS, ConfigError.__name__, sentence, ConfigError.exit_code)
    if isinstance(err, CycloptsError | ValidationError):
        cause = err.__cause__ or err.__context__ if isinstance(err, CycloptsError) else err
        sentence = _explain(cause) if isinstance(cause, ValidationError) else _of_syntax(err)
        return End(BAD_PARAMETERS, ConfigError.__name__, sentence, ConfigError.exit_code)
    return None


def show_traceback(err: BaseException) -> None:
    """Print the traceback of an expected end, for `--debug`."""
    sys.stderr.write(redacted_traceback(err))


def _of_syntax(err: Exception) -> str:
    """Return the sentence of a command line that cannot be parsed."""
    if isinstance(err, UnusedCliTokensError):
        tokens = ", ".join(map(repr, err.unused_tokens or ()))
        return f"Unexpected {tokens}: the command takes no further argument, and a switch takes no value."
    sentence = str(err)
    unknown = _FLAG.search(sentence)
    if unknown and sentence.startswith("Unknown") and "Did you mean" not in sentence:
        return sentence + did_you_mean(unknown[0], GENERAL_FLAGS)
    return sentence


def _explain(err: ValidationError) -> str:
    """Return one line per bad parameter, under its flag's name: what was found and what was expected."""
    group = next((name for name, model in PARAMETER_GROUPS.items() if model.__name__ == err.title), err.title)
    lines = []
    for problem in err.errors():
        name, reason = ".".join([group, *map(str, problem["loc"])]), problem["msg"].removeprefix("Value error, ")
        found = f" is {scrubbed(repr(problem['input']))}" if problem["loc"] else ""  # else it is the whole group
        lines.append(f"{name}{found}: {reason}{_hint(group, problem)}")
    return "\n".join(lines)


def _hint(group: str, problem: Any) -> str:  # Any: pydantic's ErrorDetails
    """Return which of the known values or names was perhaps meant."""
    name = str(problem["loc"][-1]) if problem["loc"] else ""
    if problem["type"] == "literal_error":
        hint = did_you_mean(str(problem["input"]), _QUOTED.findall(problem["msg"]))
    elif problem["type"] == "extra_forbidden" and group in PARAMETER_GROUPS:
        hint = did_you_mean(name, _fields(PARAMETER_GROUPS[group], problem["loc"][:-1]))
    else:
        hint = ""
    return f".{hint}" if hint else ""


def _fields(model: type[BaseModel], inner: Sequence[str | int]) -> Sequence[str]:
    """Return the names of the fields of a group, or of a group inside of it."""
    for name in inner:
        field = model.model_fields.get(str(name))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ()
        model = annotation
    return tuple(model.model_fields)


@contextlib.contextmanager
def machine_output() -> Iterator[Callable[[str], None]]:
    """Keep standard output for one JSON object: what the body and its processes print goes to standard error."""
    out, saved = sys.stdout, None
    with contextlib.suppress(OSError, io.UnsupportedOperation):  # where standard output is no file
        out.flush()
        saved = os.dup(out.fileno())
        os.dup2(sys.stderr.fileno(), out.fileno())

    answers: list[str] = []
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield answers.append
    finally:
        if saved is not None:
            os.dup2(saved, out.fileno())
            os.close(saved)
        for answer in answers:
            out.write(f"{answer}\n")
        out.flush()
