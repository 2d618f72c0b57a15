"""What a flow reads is looked for before anything starts."""

from pathlib import Path

import pytest

from tasks.core.config.compute import ComputeConfig
from tasks.core.errors import ConfigError, ModelError
from tasks.runtime.inputs import require_inputs


@pytest.mark.parametrize(
    ("name", "error"),
    [("source", ConfigError), ("dataset", ConfigError), ("model_uri", ModelError), ("scans", ConfigError)],
)
def test_a_name_at_which_nothing_exists_is_refused(name: str, error: type[Exception], tmp_path: Path) -> None:
    """On this machine, whatever it names."""
    with pytest.raises(error):
        require_inputs(ComputeConfig(), **{name: str(tmp_path / "nowhere")})


def test_what_a_remote_cluster_reads_is_left_to_it(tmp_path: Path) -> None:
    """A flow may have no permission to read scans and model; a dataset it reads itself."""
    remote, nowhere = ComputeConfig(ray_address="http://head:8265"), str(tmp_path / "nowhere")
    require_inputs(remote, model_uri=nowhere, scans=nowhere)
    with pytest.raises(ConfigError):
        require_inputs(remote, dataset=nowhere)
