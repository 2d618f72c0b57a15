"""Tree of the project's errors, with the exit code of each.

LesionWorkflowError          1  a bug, unless it is a subclass
├── InternalError            1  every scan of a run ended in the same bug
├── ConfigError              2  the parameters cannot work together, or name what does not exist
├── DataError                3  one input is bad: a row with a code, never the end of a run
├── IncompleteError          3  some inputs could not be used and are listed; the rest is published
├── LockedError              4  another running flow holds the output
├── StorageError             5  the store did not respond, or refused
├── ClusterError             5  Ray could not be reached or started, or lost its workers
├── ServerError              5  Prefect's server did not start, or does not respond
└── ModelError               2  a bundle or its weights cannot be used as asked
"""

import hashlib
import traceback
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

from tasks.core.record import Record

ErrorCode = Literal[
    "ambiguous_series",  # several series or files where one was meant
    "archive_bomb",  # unpacks to implausibly more than its size
    "bad_affine",  # defines no position in space
    "bad_name",  # a name that is not UTF-8, or holds control characters
    "bad_verdict",  # an invalid line of a verdicts.csv
    "burned_in_annotation",  # text about the patient in the pixels, by the header
    "changed",  # differs in size between listing and reading
    "constant",  # every voxel has the same value
    "corrupt_archive",  # a damaged archive, or a damaged member of one
    "duplicate_name",  # several members of an archive with one name
    "duplicate_position",  # two slices of a series at one position
    "duplicate_slice",  # two files claim the same (case_id, slice_index)
    "empty_file",  # zero bytes
    "gantry_tilt",  # slices stacked at an angle to their plane
    "index_row",  # an invalid row of an index.csv
    "internal_error",  # a bug in this project or a library, triggered by the input
    "localiser_only",  # a series of nothing but localisers
    "mask_values",  # a mask or lung mask that is not binary under the declared rule
    "missing_file",  # an index names a file that is not there
    "missing_position",  # slices without position or orientation
    "missing_rescale",  # CT values without slope and intercept
    "missing_slices",  # a gap in a series
    "missing_spacing",  # slices without pixel spacing
    "mixed_geometry",  # slices of one series that differ in size, spacing or orientation
    "nested_archive",  # an archive in an archive
    "no_scan",  # an archive without a scan
    "no_permission",  # this machine has no permission to read it
    "non_finite",  # pixels that are not a number or infinite
    "not_3d",  # a volume without exactly three dimensions
    "not_ct",  # another modality
    "not_grey",  # a DICOM image in colours
    "not_hu",  # CT values that are no Hounsfield units, by the header
    "not_read",  # the store did not return it, in all attempts
    "other_scan",  # a correction that refers to another scan
    "other_version",  # a code of a table that another version of this software wrote
    "out_of_memory",  # needs more memory than the worker has
    "outdated",  # a verdict on a mask that was made anew since
    "password_protected",  # an encrypted member
    "shape_mismatch",  # image and mask or lung mask differ in size
    "shifted_slices",  # slices of a series shifted along their own plane
    "timed_out",  # took longer than a scan may
    "too_large",  # more pixels than are decoded
    "too_small",  # slices of a few pixels
    "truncated_archive",  # an archive that ends before its members do
    "unequal_spacing",  # slices of a series at uneven distances
    "unknown_scan",  # a verdict on, or a correction of, a scan of which the output has no mask
    "unpaired_image",  # an image without a mask of the same name
    "unpaired_mask",  # a mask or lung mask without an image of the same name
    "unreadable",  # damaged or truncated
    "unsafe_member",  # a link, or a name that points outside its archive or folder
    "unsupported_format",  # an image of a format that is not read
    "unsupported_syntax",  # a DICOM transfer syntax that is not decoded
    "vanished",  # listed, then gone when it was read
    "worker_died",  # the process that worked on it died in all attempts
    "wrong_suffix",  # content of another format than the suffix
    "zero_spacing",  # voxels of size zero
]

PASSING_CODES: Final[frozenset[ErrorCode]] = frozenset(
    {
        *("changed", "internal_error", "no_permission", "not_read", "other_version", "out_of_memory", "timed_out"),
        *("vanished", "worker_died"),
    }
)
"""Codes that do not depend on the content; the next run tries such a scan again."""

NOT_SCAN_CODES: Final[frozenset[ErrorCode]] = frozenset({"localiser_only", "not_ct", "not_hu"})
"""Codes of what an ordinary study holds besides chest CT in Hounsfield units: it is counted, and is no failure."""

MAX_FRAMES: Final = 20
"""Number of innermost frames kept of a traceback; a recursion has a thousand."""

N_REFERENCE_HEX: Final = 8

StorageCode = Literal["changed", "no_permission", "not_read", "vanished"]
STORAGE_SENTENCES: Final[dict[StorageCode, str]] = {
    "changed": "It changed while it was read, as during an upload. The next run tries again.",
    "no_permission": "This machine may not read it; check the credentials of the workers. The next run tries again.",
    "not_read": "It could not be read in several attempts. The next run tries again.",
    "vanished": "It was removed between listing and reading; check what moves it. The next run tries again.",
}
"""Sentence of each code, without the name of the object."""


class LesionWorkflowError(Exception):
    """Base of all errors that this project raises."""

    exit_code: ClassVar[int] = 1


class ConfigError(LesionWorkflowError):
    """Invalid parameters, or an address at which nothing exists; nothing was started."""

    exit_code = 2


class DataError(LesionWorkflowError):
    """Bad input: the scan or slice is rejected under `code`, the others continue.

    The sentence never holds a file or member name: those may hold a patient's name. `where` is the traceback of an
    `internal_error`, for the log.
    """

    exit_code = 3

    def __init__(self, code: ErrorCode, sentence: str, where: str | None = None) -> None:
        super().__init__(code, sentence, where)  # all three, so that the error can be pickled between processes
        self.code: ErrorCode = code
        self.sentence = sentence
        self.where = where

    def __str__(self) -> str:
        return self.sentence


class InternalError(LesionWorkflowError):
    """Bug that every scan of a run failed with: the installation is broken, not the scans."""


class IncompleteError(LesionWorkflowError):
    """Some inputs could not be used; the results of all others are published, and the flow run must fail.

    `result` is the handle of what was published, for the last lines of a command; None if nothing was.
    """

    exit_code = 3

    def __init__(self, sentence: str, result: Record | None = None) -> None:
        super().__init__(sentence)
        self.result = result


class LockedError(LesionWorkflowError):
    """Another running flow holds the lock of this output."""

    exit_code = 4


class StorageError(LesionWorkflowError):
    """Storage did not respond, refused, or does not hold what was expected.

    `can_pass` is False if a retry cannot help: the object does not exist, or access is denied. A scan that meets the
    error is rejected under `code`.
    """

    exit_code = 5

    def __init__(self, sentence: str, *, can_pass: bool = True, code: StorageCode | None = None) -> None:
        super().__init__(sentence)
        self.can_pass = can_pass
        self.code: StorageCode = code or ("not_read" if can_pass else "vanished")

    def as_refusal(self) -> DataError:
        """Return the error as the rejection of one input, without its own sentence, which may hold a patient's name."""
        return DataError(self.code, STORAGE_SENTENCES[self.code])


class ClusterError(LesionWorkflowError):
    """Ray could not be reached or started, or lost the workers of a step.

    `can_pass` is False if a retry cannot help, because it was waited for already or refuses.
    """

    exit_code = 5

    def __init__(self, sentence: str, *, can_pass: bool = True) -> None:
        super().__init__(sentence)
        self.can_pass = can_pass


class ServerError(LesionWorkflowError):
    """The configured Prefect server does not respond, or the temporary one did not start."""

    exit_code = 5


class StoppedError(LesionWorkflowError):
    """A job was stopped on request, for example by cancelling its flow run; it is not retried."""

    exit_code = 5


class ModelError(LesionWorkflowError):
    """A model bundle or its weights cannot be used as asked."""

    exit_code = 2


def as_refusal(err: Exception) -> DataError:
    """Return an error as the rejection of one input; called where one scan or archive is processed.

    An error without a code is a bug. It gets a reference, the same for the same line of code, and its traceback
    without the message, which may quote a header.

    Raises:
        LesionWorkflowError: The error itself, if the store or the run caused it and not the input.
    """
    if isinstance(err, DataError):
        return err
    if isinstance(err, LesionWorkflowError):
        raise err
    if isinstance(err, MemoryError):
        advice = "Split it, or give the workers more memory; the next run tries again."
        return DataError("out_of_memory", f"It needs more memory than the worker had. {advice}")
    frames = traceback.extract_tb(err.__traceback__)
    return internal_error(type(err).__name__, [f'File "{f.filename}", line {f.lineno}, in {f.name}' for f in frames])


def internal_error(name: str, frames: Sequence[str]) -> DataError:
    """Return the rejection of an input that triggered a bug.

    Args:
        name: Class of the error; never its message, which may quote a header.
        frames: Frames of the traceback as text (`File "x.py", line 1, in f`), the innermost last.
    """
    inner = frames[-MAX_FRAMES:]
    reference = hashlib.sha256("\n".join([name, *inner]).encode()).hexdigest()[:N_REFERENCE_HEX]
    return DataError(
        "internal_error",
        f"It triggered a bug ({name}, reference {reference}). Report the reference with the log; the next run tries "
        "again.",
        where="\n  ".join([f"reference {reference}: {name}", *inner]),
    )
