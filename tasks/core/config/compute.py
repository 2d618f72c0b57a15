"""Where the work runs: in this process, or on a cluster and how it is asked."""

from pydantic import Field

from tasks.core.config.forms import FormModel


class ComputeConfig(FormModel):
    """Where the work runs."""

    ray_address: str = Field(
        "",
        title="Ray address",
        description="Empty = in this process; http(s)://head:8265 = each step is a job of that cluster; auto or "
        "host:port = join a running cluster from one of its nodes.",
    )
    gpus: int = Field(
        0,
        title="GPUs (count)",
        ge=0,
        description="GPUs a segmentation asks of a cluster, which may have to start nodes, count; 0 = what is there.",
    )
    max_hours: float | None = Field(
        None, title="Longest time of a step (h)", gt=0, description="A job that takes longer is stopped, hours."
    )
    orphan_minutes: float = Field(
        10.0,
        title="Orphan time (min)",
        ge=1,
        description="A job whose flow run was not heard of for this long stops itself, minutes.",
    )
    price_per_node_hour: float | None = Field(
        None,
        title="Price (per node-hour)",
        ge=0,
        description="What a node costs, per node-hour, in any currency: reports then say what 1,000 scans cost.",
    )

    @property
    def is_remote(self) -> bool:
        """Whether steps are jobs of a cluster that this process is no part of."""
        return self.ray_address.startswith(("http://", "https://"))
