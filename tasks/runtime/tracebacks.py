"""Tracebacks for terminals and logs, without the messages of errors that may quote a header, a file or a parameter."""

import traceback
from collections.abc import Iterator

from tasks.core.errors import LesionWorkflowError


def redacted_traceback(err: BaseException) -> str:
    """Return the traceback of an error and its causes, with the sentences of this project's errors only.

    Errors of libraries quote what they read: values of DICOM headers, names of files. Of these the class is shown, and
    the lines of code.
    """
    return "\nThe error above led to the one below.\n\n".join(_one(link) for link in reversed([*_chain(err)]))


def _chain(err: BaseException) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    link: BaseException | None = err
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _one(err: BaseException) -> str:
    sentence = f": {err}" if isinstance(err, LesionWorkflowError) else ""
    head = "Traceback (most recent call last):\n"
    return f"{head}{''.join(traceback.format_tb(err.__traceback__))}{type(err).__name__}{sentence}\n"
