"""Errors of stores as `StorageError`, and the retry policy for faults that can pass."""

import contextlib
import errno
from collections.abc import Iterator

from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from tasks.core.addresses import scrubbed, shown_uri
from tasks.core.errors import StorageError

PASSING_ERRNOS = {errno.EIO, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ETIMEDOUT, errno.ESTALE}
"""Errors of a local or network file system that can pass; a full disk cannot."""

PASSING_STATUSES = {401, 408, 429}
"""HTTP 4xx statuses worth a retry: expired token, slow request, too many requests."""

N_TRIES = 6
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 15.0


def _can_pass(err: BaseException) -> bool:
    return isinstance(err, StorageError) and err.can_pass


retrying = retry(
    retry=retry_if_exception(_can_pass),
    wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
    stop=stop_after_attempt(N_TRIES),
    reraise=True,
)
"""Decorator that retries a function while it raises a `StorageError` that can pass.

Pauses are drawn from [0, 0.2 s x 2^n]: «Exponential Backoff And Jitter», M. Brooker, AWS Architecture Blog, 2015.
"""


@contextlib.contextmanager
def storage_errors(uri: str, verb: str) -> Iterator[None]:
    """Raise errors of a store or its client as a `StorageError`, which records whether a retry may help.

    Args:
        uri: URI of the request; messages show it redacted.
        verb: Verb of the request, for the message.
    """
    shown = shown_uri(uri)
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as err:
        raise StorageError(f"Could not {verb} {shown}: it does not exist.", can_pass=False) from err
    except PermissionError as err:
        raise _denied(shown, verb) from err
    except Exception as err:  # each store has errors of its own: aiohttp's, gcsfs's, botocore's
        if str(err).startswith("Forbidden"):  # gcsfs raises it only as text
            raise _denied(shown, verb) from err
        said = f"{type(err).__name__}: {scrubbed(str(err), uri)}"
        raise StorageError(f"Could not {verb} {shown}: {said}", can_pass=_may_pass(err)) from err


def _may_pass(err: Exception) -> bool:
    """Return whether the same request may succeed later."""
    status = getattr(err, "status", None) or getattr(err, "code", None)  # aiohttp's, gcsfs's
    if isinstance(status, int) and 400 <= status < 500:
        return status in PASSING_STATUSES
    if isinstance(err, NotADirectoryError | IsADirectoryError | FileExistsError):
        return False
    if isinstance(err, OSError) and not isinstance(err, ConnectionError | TimeoutError):
        return err.errno is None or err.errno in PASSING_ERRNOS
    return True


def _denied(shown: str, verb: str) -> StorageError:
    return StorageError(
        f"Could not {verb} {shown}: no permission. Check the credentials of this machine.",
        can_pass=False,
        code="no_permission",
    )
