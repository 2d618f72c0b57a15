"""Messages between a flow run and its job on a cluster, through storage, without a connection between them.

The folder of a job holds its request (`request.json`), the heartbeat of its flow run (`heartbeat.json`), its progress
(`progress.json`) and its outcome (`outcome.json`, written last).
"""

import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue, TypeAdapter

from tasks.core.catalog import StepName
from tasks.core.errors import ClusterError, DataError, ErrorCode, LesionWorkflowError, StorageCode, StorageError
from tasks.core.record import Record
from tasks.core.throughput import AnyProgress
from tasks.io import storage
from tasks.io.stored_objects import StoredObject

FOLDER = "jobs"
READ_WITHIN_S = 3600.0
"""Seconds within which a flow run that is alive has read the outcome of its job."""
KILLED_AFTER_S = 24 * 3600.0
"""Seconds without a heartbeat after which a job without an outcome was killed; clocks of stores differ by minutes."""
_PROGRESS = TypeAdapter(AnyProgress)


class JobRequest(Record):
    """Request of a job.

    Attributes:
        step: Name of the step.
        request: Input of the step, as JSON.
        code_version: Code version of the flow run; a cluster with another one refuses.
        orphan_minutes: Minutes without a heartbeat after which the job stops.
    """

    step: StepName
    request: dict[str, JsonValue]
    code_version: str
    orphan_minutes: float


class JobOutcome(Record):
    """Outcome of a job: the handle of its output, or an error."""

    handle: dict[str, JsonValue] | None = None
    error: str = ""
    sentence: str = ""
    code: str | None = None
    can_pass: bool = False

    @classmethod
    def of_error(cls, err: LesionWorkflowError) -> "JobOutcome":
        """Return the outcome of a job that raised an error of this project."""
        code, can_pass = getattr(err, "code", None), getattr(err, "can_pass", False)
        return cls(error=type(err).__name__, sentence=str(err), code=code, can_pass=can_pass)

    @classmethod
    def of_bug(cls, err: Exception) -> "JobOutcome":
        """Return the outcome of a job that triggered a bug, without its message, which may hold a name."""
        return cls(
            error="bug", sentence=f"The step broke with {type(err).__name__}; its traceback is in the job's log."
        )

    def as_error(self) -> LesionWorkflowError:
        """Return the error as it was raised on the cluster."""
        kinds: dict[str, type[LesionWorkflowError]] = {
            kind.__name__: kind for kind in LesionWorkflowError.__subclasses__()
        }
        if self.error == StorageError.__name__:
            return StorageError(self.sentence, can_pass=self.can_pass, code=cast("StorageCode | None", self.code))
        if self.error == ClusterError.__name__:
            return ClusterError(self.sentence, can_pass=self.can_pass)
        if self.error == DataError.__name__:
            return DataError(cast("ErrorCode", self.code), self.sentence)
        return kinds.get(self.error, LesionWorkflowError)(self.sentence)


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Folder of a job."""

    uri: str

    @classmethod
    def of(cls, output_uri: str, job_id: str) -> "JobFiles":
        """Return the folder of a job below the output of its step."""
        return cls(storage.join(output_uri, FOLDER, job_id))

    def ask(self, asked: JobRequest) -> None:
        """Write the request of the job."""
        storage.publish(self._file("request"), asked.model_dump_json().encode())

    def asked(self) -> JobRequest:
        """Return the request of the job."""
        return JobRequest.model_validate_json(storage.read_bytes(self._file("request")))

    def beat(self) -> None:
        """Write the heartbeat of the flow run."""
        storage.publish(self._file("heartbeat"), uuid.uuid4().bytes)

    def heartbeat(self) -> bytes:
        """Return the heartbeat, whose content changes every time, so that clocks need not agree."""
        return storage.read_bytes(self._file("heartbeat"))

    def report_progress(self, progress: AnyProgress) -> None:
        """Write the progress of the job."""
        storage.publish(self._file("progress"), _PROGRESS.dump_json(progress))

    def progress(self) -> AnyProgress | None:
        """Return the progress of the job, if it has written any."""
        return _PROGRESS.validate_json(content) if (content := self._read("progress")) else None

    def end(self, outcome: JobOutcome) -> None:
        """Write the outcome of the job."""
        storage.publish(self._file("outcome"), outcome.model_dump_json().encode())

    def outcome(self) -> JobOutcome | None:
        """Return the outcome of the job, if it has ended."""
        return JobOutcome.model_validate_json(content) if (content := self._read("outcome")) else None

    def clear(self) -> None:
        """Remove all but the outcome of the job, which a restarted flow run may need again."""
        for name in ("request", "heartbeat", "progress"):
            storage.remove(self._file(name))

    @classmethod
    def remove_ended(cls, output_uri: str, *, own_prefix: str) -> None:
        """Remove the folders of ended jobs below an output.

        Args:
            output_uri: The output.
            own_prefix: What the ids of earlier jobs of this step of the flow run begin with. Those of others are left
                while their flow run may still read the outcome, or beat: an hour after an outcome, a day without one.
        """
        folder = storage.join(output_uri, FOLDER)
        jobs: dict[str, list[StoredObject]] = defaultdict(list)
        for found in storage.list_objects(folder) if storage.exists(folder) else []:
            jobs[found.path.partition("/")[0]].append(found)
        for job_id, objects in jobs.items():
            has_outcome = any(found.path.endswith("/outcome.json") for found in objects)
            old = time.time() - (READ_WITHIN_S if has_outcome else KILLED_AFTER_S)
            is_over = all(found.modified_s is not None and found.modified_s < old for found in objects)
            if job_id.startswith(own_prefix) or is_over:
                storage.remove_tree(storage.join(folder, job_id))

    def _read(self, name: str) -> bytes | None:
        return storage.read_bytes(self._file(name)) if storage.exists(self._file(name)) else None

    def _file(self, name: str) -> str:
        return storage.join(self.uri, f"{name}.json")
