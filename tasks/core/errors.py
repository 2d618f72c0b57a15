"""What can go wrong, as one tree, and what a caller's shell is told about it.

LesionWorkflowError          1  a bug, unless a subclass says otherwise
├── InternalError            1  every scan of a run ended in the same bug
├── ConfigError              2  the parameters cannot work together
├── DataError                3  one input is bad: a row with a code, never the end of a run
├── IncompleteError          3  good outputs are published, some inputs are lost and named
├── LockedError              4  another live run holds the output
├── StorageError             5  the store did not answer or refused
├── ClusterError             5  Ray could not be reached or started, or lost its workers
├── ServerError              5  Prefect's temporary server did not start
└── ModelError               2  a bundle or its weights cannot be used as asked
"""

import hashlib
import traceback
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

ErrorCode = Literal[
    "ambiguous_series",  # several series or files where one was meant
    "archive_bomb",  # unpacks to absurdly more than it takes
    "bad_affine",  # no position in space follows from it
    "bad_name",  # a name that is not UTF-8
    "burned_in_annotation",  # pixels said to hold text about the patient
    "changed",  # another size when it was read than when it was listed
    "constant",  # every voxel has the same value
    "corrupt_archive",  # a damaged archive, or a damaged member of one
    "duplicate_name",  # members of an archive under one name
    "duplicate_position",  # two slices of a series at one place
    "duplicate_slice",  # two files claim the same (case_id, slice_index)
    "empty_file",  # zero bytes
    "gantry_tilt",  # slices stacked at an angle to their plane
    "index_row",  # a row of an index.csv that cannot be meant
    "internal_error",  # a bug of ours, or of a library, that this input brought out
    "localiser_only",  # a series of nothing but localisers
    "mask_values",  # a mask that is not binary under the declared rule
    "missing_file",  # an index names a file that is not there
    "missing_position",  # slices without position or orientation
    "missing_rescale",  # CT values without slope and intercept
    "missing_slices",  # a gap in a series
    "missing_spacing",  # slices without pixel spacing
    "mixed_geometry",  # slices of one series that differ in size, spacing or orientation
    "nested_archive",  # an archive in an archive
    "no_scan",  # an archive of which nothing was taken
    "no_permission",  # this machine may not read it
    "non_finite",  # pixels that are not a number or infinite
    "not_3d",  # a volume of more or fewer than three dimensions
    "not_ct",  # another modality
    "not_grey",  # a DICOM image in colours
    "not_read",  # the store did not hand it over, however often it was asked
    "out_of_memory",  # more than the worker has to give
    "password_protected",  # an encrypted member
    "shape_mismatch",  # image and mask differ in size
    "single_slice",  # a series of one slice
    "too_large",  # more pixels than we are willing to decode
    "truncated_archive",  # an archive that ends before its members do
    "unequal_spacing",  # slices of a series at uneven distances
    "unpaired_image",  # an image without a mask of the same name
    "unpaired_mask",  # a mask without an image of the same name
    "unreadable",  # damaged or truncated
    "unsafe_member",  # a link, or a name that points outside its archive
    "unsupported_format",  # an image, but of a kind we do not take
    "unsupported_syntax",  # a DICOM transfer syntax that is not decoded
    "vanished",  # listed, then gone when it was read
    "worker_died",  # the process that worked on it died, again and again
    "wrong_suffix",  # a file whose content is not what its name says
    "zero_spacing",  # voxels without extent
]

PASSING_CODES: Final[frozenset[ErrorCode]] = frozenset(
    {"changed", "internal_error", "no_permission", "not_read", "out_of_memory", "vanished", "worker_died"}
)
"""What says nothing of the content: such a scan is tried again by the next run."""

MAX_PLACES: Final = 20
"""Of a traceback, the innermost: a recursion has a thousand of them."""

N_REFERENCE_HEX: Final = 8

StorageCode = Literal["changed", "no_permission", "not_read", "vanished"]
STORAGE_SENTENCES: Final[dict[StorageCode, str]] = {
    "changed": "It changed while it was read, as during an upload. The next run takes it as it is then.",
    "no_permission": "This machine may not read it; check the credentials of the workers. The next run tries again.",
    "not_read": "It could not be read, however often it was asked for. The next run tries again.",
    "vanished": "It was listed, then gone when it was read; check who moves it. The next run tries again.",
}
"""By what the store did."""


class LesionWorkflowError(Exception):
    """Anything this project raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(LesionWorkflowError):
    """The parameters cannot work; nothing was started."""

    exit_code = 2


class DataError(LesionWorkflowError):
    """One input is bad. The scan or slice is rejected under `code`, the rest goes on.

    The sentence never holds a file or member name: those may hold a patient's name. `where` is the traceback of an
    `internal_error`, for the log.
    """

    exit_code = 3

    def __init__(self, code: ErrorCode, sentence: str, where: str | None = None) -> None:
        super().__init__(code, sentence, where)  # all, so that the error survives pickling between processes
        self.code: ErrorCode = code
        self.sentence = sentence
        self.where = where

    def __str__(self) -> str:
        return self.sentence


class InternalError(LesionWorkflowError):
    """A bug that no scan of a run came past: the installation is broken rather than the scans."""


class IncompleteError(LesionWorkflowError):
    """Everything good was published, but some inputs were lost: the run must not be green."""

    exit_code = 3


class LockedError(LesionWorkflowError):
    """A live run holds the lock of this output."""

    exit_code = 4


class StorageError(LesionWorkflowError):
    """Storage did not answer, refused, or does not hold what was expected.

    `can_pass` is False where trying again cannot help: nothing is there, or access is denied. A scan that met it is
    rejected under `code`.
    """

    exit_code = 5

    def __init__(self, sentence: str, *, can_pass: bool = True, code: StorageCode | None = None) -> None:
        super().__init__(sentence)
        self.can_pass = can_pass
        self.code: StorageCode = code or ("not_read" if can_pass else "vanished")

    def as_refusal(self) -> DataError:
        """Return it as what befell one input; this error's own sentence names the object, which may name a patient."""
        return DataError(self.code, STORAGE_SENTENCES[self.code])


class ClusterError(LesionWorkflowError):
    """Ray could not be reached or started, or lost the workers of a step."""

    exit_code = 5


class ServerError(LesionWorkflowError):
    """The temporary Prefect server, which a run without a configured one starts for itself, did not start."""

    exit_code = 5


class StoppedError(LesionWorkflowError):
    """A job was stopped by somebody, as when its flow run is cancelled; trying again is not what they want."""

    exit_code = 5


class ModelError(LesionWorkflowError):
    """A model bundle or its weights cannot be used as asked."""

    exit_code = 2


def as_refusal(err: Exception) -> DataError:
    """Return what one input brought about as its refusal; to be called at the boundary of one scan or archive.

    An error without a typed code is a bug. It gets a reference, the same for the same place in the code, and its
    traceback without the error's own text, which may quote a header.

    Raises:
        LesionWorkflowError: What was handed in, where it is the fault of the store or the run and not of the input.
    """
    if isinstance(err, DataError):
        return err
    if isinstance(err, LesionWorkflowError):
        raise err
    if isinstance(err, MemoryError):
        advice = "Split it, or give the workers more; the next run tries again."
        return DataError("out_of_memory", f"It needs more memory than the worker had. {advice}")
    frames = traceback.extract_tb(err.__traceback__)
    return internal_error(type(err).__name__, [f'File "{f.filename}", line {f.lineno}, in {f.name}' for f in frames])


def internal_error(name: str, places: Sequence[str]) -> DataError:
    """Return the refusal of an input that brought out a bug.

    Args:
        name: Class of the error; never its text, which may quote a header.
        places: In the code, as a traceback has them (`File "x.py", line 1, in f`), the innermost last.
    """
    inner = places[-MAX_PLACES:]
    reference = hashlib.sha256("\n".join([name, *inner]).encode()).hexdigest()[:N_REFERENCE_HEX]
    return DataError(
        "internal_error",
        f"It brought out a bug ({name}, reference {reference}). Report the reference with the log; the next run tries "
        "again.",
        where="\n  ".join([f"reference {reference}: {name}", *inner]),
    )
