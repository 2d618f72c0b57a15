"""Entry point of a job on a Ray cluster: `python -m tasks.engine.jobs.entrypoint FOLDER_URI`.

It reads the request of a step, runs the step and writes the outcome; without a heartbeat of its flow run it stops.
"""

import _thread
import logging
import os
import signal
import sys
import threading
import time
from typing import Final, NoReturn

from tasks.core.config.compute import ComputeConfig
from tasks.core.errors import ClusterError, ConfigError, LesionWorkflowError, StorageError
from tasks.core.throughput import AnyProgress
from tasks.engine.cluster.environment import WORKER_ENVIRONMENT
from tasks.engine.jobs.client import MARK
from tasks.engine.jobs.dispatch import STEPS, at_intervals, call_step
from tasks.io.job_files import JobFiles, JobOutcome, JobRequest
from tasks.io.versions import code_version

logger = logging.getLogger(__name__)

CHECKS_PER_ORPHAN_TIME: Final = 20
GRACE_S: Final = 60.0
"""Seconds to release the output lock in, after which the process exits."""


def main(folder_uri: str) -> None:
    """Run the step that a folder requests; the exit code is that of the command."""
    os.environ.update(WORKER_ENVIRONMENT)
    _log_to_stdout()
    signal.signal(signal.SIGTERM, _interrupt)
    files = JobFiles(folder_uri)
    try:
        asked = files.asked()
        threading.Thread(target=_watch_heartbeat, args=(files, asked.orphan_minutes * 60), daemon=True).start()
        outcome = _do(asked, files)
    except LesionWorkflowError as err:
        outcome, code = JobOutcome.of_error(err), err.exit_code
    except KeyboardInterrupt:  # stopped from outside, or orphaned
        sys.exit(ClusterError.exit_code)
    except Exception as err:  # a bug: retrying would not help, so the flow run receives it, too
        files.end(JobOutcome.of_bug(err))
        raise
    else:
        code = 0
    files.end(outcome)
    sys.exit(code)


def _do(asked: JobRequest, files: JobFiles) -> JobOutcome:
    if asked.code_version != code_version():
        raise ConfigError(
            f"The flow run has code version {asked.code_version[:12]}, the cluster {code_version()[:12]}: "
            "install the same release in both images."
        )
    request = STEPS[asked.step][1].model_validate(asked.request)

    def report_progress(progress: AnyProgress) -> None:
        try:
            files.report_progress(progress)
        except StorageError as err:  # the work matters more than its progress
            logger.warning("job: progress not written, %s", err)

    on_cluster = ComputeConfig(ray_address="auto")
    handle = call_step(asked.step, request, compute=on_cluster, report_progress=at_intervals(report_progress))
    return JobOutcome(handle=handle.model_dump(mode="json"))


def _log_to_stdout() -> None:
    """Print log lines of `tasks`, with the mark by which the flow run's log takes them."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(f"{MARK}%(message)s"))
    inner = logging.getLogger("tasks")
    inner.addHandler(handler)
    inner.setLevel(logging.INFO)
    inner.propagate = False


def _watch_heartbeat(files: JobFiles, limit_s: float) -> None:
    """Interrupt the step when its flow run has had no heartbeat for the limit."""
    heartbeat, changed_at = b"", time.monotonic()
    while time.monotonic() - changed_at < limit_s:
        time.sleep(limit_s / CHECKS_PER_ORPHAN_TIME)
        try:
            found = files.heartbeat()
        except StorageError:
            continue
        if found != heartbeat:
            heartbeat, changed_at = found, time.monotonic()
    logger.warning("job: no heartbeat of the flow run for %.0f s, stopping", limit_s)
    _thread.interrupt_main()
    time.sleep(GRACE_S)
    os._exit(ClusterError.exit_code)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(sys.argv[1])
