"""Messages between a flow run and its job come back as they were meant, and ended jobs leave nothing for ever."""

import pytest

from tasks.core.errors import ConfigError, DataError, LesionWorkflowError, StorageError
from tasks.io import job_files, storage
from tasks.io.job_files import FOLDER, JobFiles, JobOutcome, JobRequest

ASKED = JobRequest(step="segment", request={"a": 1}, code_version="v", orphan_minutes=10)


@pytest.mark.parametrize(
    "err",
    [
        ConfigError("wrong"),
        DataError("vanished", "Gone."),
        StorageError("503"),
        StorageError("denied", can_pass=False, code="no_permission"),
    ],
)
def test_an_error_crosses_as_itself(err: LesionWorkflowError) -> None:
    """Class, sentence, code and whether it can pass survive JSON."""
    found = JobOutcome.model_validate_json(JobOutcome.of_error(err).model_dump_json()).as_error()
    assert (type(found), str(found)) == (type(err), str(err))
    assert [getattr(found, name, None) for name in ("code", "can_pass")] == [
        getattr(err, name, None) for name in ("code", "can_pass")
    ]


def test_a_bug_crosses_without_its_text() -> None:
    """A traceback may quote a name; the flow run is told the kind of error and where to look."""
    found = JobOutcome.of_bug(KeyError("Mueller")).as_error()
    assert type(found) is LesionWorkflowError
    assert "KeyError" in str(found)
    assert "Mueller" not in str(found)


def test_an_outcome_stays_for_an_hour(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow run that died before it kept the outcome finds it again; the next job of anybody clears it away later."""
    files = JobFiles.of(root, "one-segment-1")
    files.ask(ASKED)
    files.beat()
    files.end(JobOutcome(handle={"uri": "u"}))
    files.clear()
    JobFiles.remove_ended(root, own_prefix="three-segment-")
    assert files.outcome() == JobOutcome(handle={"uri": "u"})
    running = JobFiles.of(root, "two-segment-1")
    running.ask(ASKED)
    monkeypatch.setattr(job_files, "READ_WITHIN_S", -60.0)
    JobFiles.remove_ended(root, own_prefix="three-segment-")
    assert files.outcome() is None
    assert running.asked() == ASKED


def test_killed_jobs_leave_nothing_for_ever(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier jobs of the same step go at once, those of others once nothing has changed for a day."""
    for job_id in ("one-segment-1", "two-segment-1"):
        JobFiles.of(root, job_id).ask(ASKED)
    JobFiles.remove_ended(root, own_prefix="one-segment-")
    assert {o.path.partition("/")[0] for o in storage.list_objects(storage.join(root, FOLDER))} == {"two-segment-1"}
    monkeypatch.setattr(job_files, "KILLED_AFTER_S", -60.0)
    JobFiles.remove_ended(root, own_prefix="one-segment-")
    left = storage.list_objects(storage.join(root, FOLDER)) if storage.exists(storage.join(root, FOLDER)) else []
    assert not left


def test_every_heartbeat_differs_from_the_last(root: str) -> None:
    """The job knows that its flow run runs without comparing clocks."""
    files = JobFiles.of(root, "one")
    seen = set()
    for _ in range(3):
        files.beat()
        seen.add(files.heartbeat())
    assert len(seen) == 3
    assert storage.exists(files.uri)
