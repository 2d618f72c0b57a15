"""Check of what a flow reads, before anything starts: a wrong address is found at once, not after Ray has started."""

from collections.abc import Mapping
from typing import Any, Final

from tasks.core.config.compute import ComputeConfig
from tasks.io import storage
from tasks.io.outputs import bundles, datasets
from tasks.runtime.addresses import locate

READ_BY: Final[dict[str, tuple[str, ...]]] = {
    "flows.run_pipeline": ("source", "scans"),
    "flows.prepare_dataset": ("source",),
    "flows.train_model": ("dataset",),
    "flows.evaluate_model": ("model_uri", "dataset"),
    "flows.segment_scans": ("model_uri", "scans"),
}
"""Parameters with the addresses that a command reads, by its module."""


def require_inputs(
    compute: ComputeConfig,
    *,
    source: str | None = None,
    dataset: str | None = None,
    model_uri: str | None = None,
    scans: str | None = None,
) -> None:
    """Require that what a flow reads is there.

    What only the workers of a remote cluster read is left to its step: the flow may have no permission to read it.

    Args:
        compute: This machine or a cluster.
        source: URI of labelled slices or volumes.
        dataset: URI of a prepared dataset.
        model_uri: URI of a bundle.
        scans: URI of a folder with scans.

    Raises:
        ConfigError: If nothing exists at one of them, or no finished dataset.
        ModelError: If no finished bundle is there, or its card is damaged.
        StorageError: If the store does not answer.
    """
    if source:
        storage.require(source)
    if dataset:
        datasets.read_card(dataset)
    if compute.is_remote:
        return
    if model_uri:
        bundles.read_card(model_uri)
    if scans:
        storage.require(scans)


def require_inputs_of(module: str, arguments: Mapping[str, Any]) -> None:  # Any: parameters of any command
    """Require that what a command reads is there; see `require_inputs`.

    Args:
        module: Module of the command.
        arguments: Its parameters.
    """
    uris = {name: locate(arguments[name]) for name in READ_BY.get(module, ()) if arguments.get(name)}
    require_inputs(arguments.get("compute", ComputeConfig()), **uris)
