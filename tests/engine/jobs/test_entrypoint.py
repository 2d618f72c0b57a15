"""What a job refuses before it does anything."""

import pytest

from tasks.core.errors import ConfigError
from tasks.engine.jobs import entrypoint
from tasks.io.job_files import JobFiles, JobRequest


def test_a_cluster_with_other_code_refuses() -> None:
    """A flow run and a cluster of two releases never mix: refused, with both versions, and nothing is read or done."""
    asked = JobRequest(step="evaluate", request={}, code_version="another release", orphan_minutes=1)
    with pytest.raises(ConfigError, match=r"code version another rele, the cluster \S+: install the same release"):
        entrypoint._do(asked, JobFiles("memory://nowhere"))
