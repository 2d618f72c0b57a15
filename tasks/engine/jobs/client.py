"""Client of jobs on a Ray cluster: submits, finds, watches and stops the job of a step.

The id of a job is `<flow_run_id>-<step>-<n>`, so that a restarted flow run finds its job. Only HTTP to the head is
needed, which may be unreachable for a while; no Ray Client, which fails after 30 s without a connection.
"""

import contextlib
import logging
import math
import shlex
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ray.job_submission import JobStatus, JobSubmissionClient

from tasks.core.catalog import StepName
from tasks.core.config.compute import ComputeConfig
from tasks.core.errors import ClusterError, LesionWorkflowError, StoppedError, StorageError
from tasks.core.record import Record
from tasks.core.throughput import ReportProgress
from tasks.engine.jobs.connection import NO_RESPONSE, POLL_S, as_cluster_error, connect, retrying
from tasks.io.job_files import JobFiles, JobRequest
from tasks.io.versions import code_version

logger = logging.getLogger(__name__)

RELAY_EVERY_S: Final = 10.0
"""Interval of relaying log and progress; the head sends the whole log each time."""

HEARTBEAT_EVERY_S: Final = 30.0
HEARTBEATS_PER_ORPHAN_TIME: Final = 10
"""Least number of heartbeats within `orphan_minutes`, so that a slow one orphans no job."""

LOST_AFTER_S: Final = 60.0
"""Seconds without a response of the head after which it counts as lost."""

MARK: Final = "lesions| "
"""Prefix of a job's output lines for the flow run's log; other output stays on the cluster."""


@dataclass(frozen=True, slots=True)
class RayJob:
    """Ray job of a step.

    Attributes:
        key: `<flow_run_id>-<step>`.
        output_uri: URI of the step's output.
        compute: Cluster and limits.
    """

    key: str
    output_uri: str
    compute: ComputeConfig

    def run(self, step: StepName, request: Record, report_progress: ReportProgress) -> Any:  # Any: a handle as JSON
        """Return the handle of the step as JSON, from a job that exists already or a new one.

        Raises:
            ClusterError: If the cluster refuses, is lost, or took too long.
            StoppedError: If the job was stopped.
            LesionWorkflowError: An error of the step.
        """
        client = connect(self.compute.ray_address)
        job_id = self._newest(client)
        if job_id is None or not self._is_of_use(client, job_id):
            job_id = f"{self.key}-{_number(job_id) + 1}"
            self._submit(client, job_id, step, request)
            logger.info("job: submitted %s", job_id)
        else:
            logger.info("job: found %s again", job_id)
        files = JobFiles.of(self.output_uri, job_id)
        beat_every_s = min(HEARTBEAT_EVERY_S, 60 * self.compute.orphan_minutes / HEARTBEATS_PER_ORPHAN_TIME)
        with _heartbeat(files, beat_every_s):
            self._watch(client, job_id, files, report_progress)
        outcome = files.outcome()
        if outcome is None:
            raise _without_outcome(client, job_id)
        files.clear()
        if outcome.handle is None:
            raise outcome.as_error()
        return outcome.handle

    def _newest(self, client: JobSubmissionClient) -> str | None:
        """Return the newest job of this step that the cluster knows."""
        with as_cluster_error(self.compute.ray_address):
            known = [job.submission_id for job in client.list_jobs() if job.submission_id]
        return max((job_id for job_id in known if job_id.startswith(f"{self.key}-")), key=_number, default=None)

    def _is_of_use(self, client: JobSubmissionClient, job_id: str) -> bool:
        """Return whether a job runs, or has succeeded and left its outcome."""
        with as_cluster_error(self.compute.ray_address):
            status = client.get_job_status(job_id)
        if status == JobStatus.SUCCEEDED:
            return JobFiles.of(self.output_uri, job_id).outcome() is not None
        return not status.is_terminal()

    def _submit(self, client: JobSubmissionClient, job_id: str, step: StepName, request: Record) -> None:
        files = JobFiles.of(self.output_uri, job_id)
        asked = JobRequest(
            step=step,
            request=request.model_dump(mode="json"),
            code_version=code_version(),
            orphan_minutes=self.compute.orphan_minutes,
        )
        JobFiles.remove_ended(self.output_uri, own_prefix=f"{self.key}-")
        files.ask(asked)
        files.beat()
        command = f"python -m tasks.engine.jobs.entrypoint {shlex.quote(files.uri)}"
        with as_cluster_error(self.compute.ray_address):
            retrying(client.submit_job)(entrypoint=command, submission_id=job_id, metadata={"step": step})

    def _watch(
        self, client: JobSubmissionClient, job_id: str, files: JobFiles, report_progress: ReportProgress
    ) -> None:
        """Relay log lines and progress until the job has ended."""
        started = reached_at = time.monotonic()
        relayed_at, n_relayed, is_over = -math.inf, 0, False
        while not is_over:
            try:
                is_over = client.get_job_status(job_id).is_terminal()
                if is_over or time.monotonic() - relayed_at > RELAY_EVERY_S:
                    relayed_at = time.monotonic()
                    n_relayed = _relay(client.get_job_logs(job_id), n_relayed)
                    _relay_progress(files, report_progress)
                reached_at = time.monotonic()
            except NO_RESPONSE as err:
                self._check_lost(job_id, err, time.monotonic() - reached_at)
            hours = (time.monotonic() - started) / 3600
            if self.compute.max_hours is not None and hours > self.compute.max_hours and not is_over:
                stop(client, job_id)
                raise StoppedError(f"Ray job {job_id} took longer than {self.compute.max_hours:g} h and was stopped.")
            time.sleep(0 if is_over else POLL_S)

    def _check_lost(self, job_id: str, err: BaseException, silent_s: float) -> None:
        """Raise after the timeout of the head, or at once if it responds without the job."""
        todo = "What was finished is recorded; another attempt continues from there."
        if "does not exist" in str(err):
            raise ClusterError(f"The Ray head came back without job {job_id}. {todo}") from err
        if silent_s > LOST_AFTER_S:
            raise ClusterError(
                f"The Ray head at {self.compute.ray_address} has not responded for {silent_s:.0f} s "
                f"({type(err).__name__}). {todo}"
            ) from err


def stop(client: JobSubmissionClient, job_id: str) -> None:
    """Stop a job, unless it has ended or is unknown."""
    with contextlib.suppress(*NO_RESPONSE):
        client.stop_job(job_id)


def stop_all(address: str, flow_run_id: str) -> list[str]:
    """Stop every job of a flow run, and return their ids.

    Raises:
        ClusterError: If the cluster does not respond.
    """
    client = connect(address, patience_s=LOST_AFTER_S)
    with as_cluster_error(address):
        jobs = [
            job.submission_id
            for job in client.list_jobs()
            if job.submission_id and job.submission_id.startswith(flow_run_id) and not job.status.is_terminal()
        ]
    for job_id in jobs:
        stop(client, job_id)
    return jobs


@contextlib.contextmanager
def _heartbeat(files: JobFiles, every_s: float) -> Iterator[None]:
    """Write the heartbeat that keeps the job alive, while the body runs."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(every_s):
            try:
                files.beat()
            except StorageError as err:
                logger.warning("job: no heartbeat written, %s", err)

    files.beat()
    thread = threading.Thread(target=beat, name="job-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _relay(log: str, n_relayed: int) -> int:
    """Log the new lines of a job and return the number of all its lines."""
    lines = [line for line in log.splitlines(keepends=True) if line.startswith(MARK) and line.endswith("\n")]
    for line in lines[n_relayed:]:
        logger.info("%s", line.removeprefix(MARK).rstrip())
    return len(lines)


def _relay_progress(files: JobFiles, report_progress: ReportProgress) -> None:
    with contextlib.suppress(StorageError):  # the next attempt may succeed
        progress = files.progress()
        if progress:
            report_progress(progress)


def _without_outcome(client: JobSubmissionClient, job_id: str) -> LesionWorkflowError:
    """Return the error of a job that ended without an outcome."""
    try:
        status = client.get_job_status(job_id)
    except NO_RESPONSE as err:
        return ClusterError(f"Ray job {job_id} is not known to the cluster any more ({type(err).__name__}).")
    if status == JobStatus.STOPPED:
        return StoppedError(
            f"Ray job {job_id} was stopped. What was finished is recorded; start the run again to continue."
        )
    # its log stays on the cluster, because a crash may print a name
    return ClusterError(
        f"Ray job {job_id} ended as {status.value} and left no result; `ray job logs {job_id}` shows more."
    )


def _number(job_id: str | None) -> int:
    return int(job_id.rpartition("-")[2]) if job_id else 0
