import pickle
from collections.abc import Callable

import pytest

from tasks.core.errors import (
    PASSING_CODES,
    ClusterError,
    ConfigError,
    DataError,
    IncompleteError,
    InternalError,
    LesionWorkflowError,
    LockedError,
    ModelError,
    ServerError,
    StoppedError,
    StorageError,
    as_refusal,
)

EXIT_CODES = {
    LesionWorkflowError: 1,
    InternalError: 1,
    ConfigError: 2,
    ModelError: 2,
    DataError: 3,
    IncompleteError: 3,
    LockedError: 4,
    StoppedError: 5,
    StorageError: 5,
    ClusterError: 5,
    ServerError: 5,
}


@pytest.mark.parametrize(("kind", "exit_code"), EXIT_CODES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_exit_code_is_the_promised_one(kind: type[LesionWorkflowError], exit_code: int) -> None:
    """A caller's shell is told what the command's contract says."""
    assert kind.exit_code == exit_code


def test_tree_holds_every_error_and_no_other() -> None:
    """Each error is a direct child of the one the command catches, and each has a promised exit code."""
    assert {LesionWorkflowError, *LesionWorkflowError.__subclasses__()} == set(EXIT_CODES)


def test_data_error_reads_as_its_sentence() -> None:
    """What a person reads is the sentence alone; the code stands beside it."""
    error = DataError("empty_file", "File holds 0 bytes; send it again.")
    assert str(error) == "File holds 0 bytes; send it again."
    assert (error.code, error.sentence) == ("empty_file", "File holds 0 bytes; send it again.")


def test_data_error_survives_the_way_between_processes() -> None:
    """A pickled and unpickled error keeps its code and sentence, because Ray sends errors that way."""
    arrived = pickle.loads(pickle.dumps(DataError("vanished", "Listed, then gone.")))  # noqa: S301 - our own bytes
    assert isinstance(arrived, DataError)
    assert (arrived.code, str(arrived)) == ("vanished", "Listed, then gone.")


@pytest.mark.parametrize("can_pass", [True, False])
def test_storage_error_says_whether_trying_again_can_help(can_pass: bool) -> None:
    """The sentence and the hope of a retry arrive in another process too."""
    error = StorageError("Access to gs://bucket is denied.", can_pass=can_pass)
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(arrived), arrived.can_pass) == ("Access to gs://bucket is denied.", can_pass)


def test_storage_is_tried_again_unless_said_otherwise() -> None:
    """A store that did not answer may answer the next time."""
    assert StorageError("No answer.").can_pass


def _raised(call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as err:  # noqa: BLE001 - that is what is looked at
        return err
    raise AssertionError("nothing was raised")


PATIENT = "Mueller^Hans"


def _look_up() -> object:
    return {}[PATIENT]


def _count() -> object:
    return int(PATIENT)


def _recurse() -> None:
    _recurse()


@pytest.mark.parametrize("call", [_look_up, _count, _recurse])
def test_what_nobody_meant_becomes_an_internal_error_without_its_text(call: Callable[[], object]) -> None:
    """A bug is a refusal with a reference and a traceback, neither of which quotes the error or a header."""
    refused, again = as_refusal(_raised(call)), as_refusal(_raised(call))
    assert refused.code == "internal_error"
    assert refused.where is not None
    assert "Mueller" not in refused.sentence + refused.where
    assert __file__ in refused.where
    reference = refused.sentence.split("reference ")[1][:8]
    assert reference in refused.where
    assert again.sentence == refused.sentence


def test_bugs_at_different_places_have_different_references() -> None:
    """The reference tells one bug from another."""
    assert as_refusal(_raised(_look_up)).sentence != as_refusal(_raised(_count)).sentence


def test_lack_of_memory_is_a_typed_refusal_that_can_pass() -> None:
    """An input that does not fit into a worker is no bug, and tried again when there is more memory."""
    assert as_refusal(MemoryError()).code == "out_of_memory"
    assert {"out_of_memory", "internal_error"} <= PASSING_CODES


def test_the_stores_fault_is_no_refusal() -> None:
    """What says nothing of the input goes on as it was raised."""
    with pytest.raises(StorageError, match="down"):
        as_refusal(StorageError("The store is down."))
    meant = DataError("constant", "Every voxel is 0.")
    assert as_refusal(meant) is meant
