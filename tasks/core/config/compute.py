"""Parameters of the compute: in this process, or on a Ray cluster."""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from tasks.core.config.forms import FormModel
from tasks.core.credentials import require_no_credentials

_ADDRESS = re.compile(r"https?://\S+|auto|[^\s/]+:\d+")


class ComputeConfig(FormModel):
    """Where the steps run: on this machine or on a Ray cluster."""

    ray_address: str = Field(
        "",
        title="Ray address",
        description="Address of the Ray cluster: http(s)://HEAD:8265 to submit jobs; auto or HOST:PORT on a node of "
        "the cluster. Empty = this machine.",
    )
    gpus: int = Field(
        0,
        title="GPUs to request",
        ge=0,
        description="Number of GPUs a segmentation requests from an autoscaling cluster. 0 = use the nodes that are "
        "running.",
    )
    max_hours: float | None = Field(
        None,
        title="Time limit per step (h)",
        gt=0,
        description="Hours after which a step's job on a cluster is stopped. Empty = no limit.",
    )
    orphan_minutes: float = Field(
        10.0,
        title="Orphan timeout (min)",
        ge=1,
        le=720,
        description="Minutes after which a job on a cluster stops if its flow run sends no heartbeat.",
    )
    price_per_node_hour: float | None = Field(
        None,
        title="Price (per node-hour)",
        ge=0,
        description="Price per node-hour, in any currency. The segmentation report then shows the cost per 1,000 "
        "scans.",
    )

    @field_validator("ray_address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        require_no_credentials(value)  # before pydantic would quote it
        if value and not _ADDRESS.fullmatch(value):
            raise ValueError("http(s)://HEAD:8265, auto or HOST:PORT was expected, or nothing for this machine.")
        return value

    @model_validator(mode="after")
    def _asks_a_cluster_for_gpus(self) -> Self:
        if self.gpus and not self.ray_address:
            raise ValueError(f"gpus is {self.gpus}, but no cluster is named in ray_address to ask them of.")
        return self

    @property
    def is_remote(self) -> bool:
        """Whether steps run as jobs on a cluster that this process has not joined."""
        return self.ray_address.startswith(("http://", "https://"))
