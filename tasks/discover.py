"""Prefect task that lists the labelled slices of a source."""

import logging

from prefect import task

from tasks.core.config.preparation import PreparationConfig
from tasks.core.handles import SourceHandle
from tasks.io import sources, storage
from tasks.io.outputs.datasets import SOURCE_FOLDER
from tasks.io.outputs.ownership import claim
from tasks.io.source_tables import publish_found, source_fingerprint
from tasks.runtime.retries import STORAGE_RETRIES
from tasks.runtime.run_logging import logging_to_prefect

logger = logging.getLogger(__name__)


@task(name="discover", **STORAGE_RETRIES)
def discover(source: str, dataset: str, preparation: PreparationConfig) -> SourceHandle:
    """Pair the images and masks below `source`, identify their patients, and write them as tables into the dataset."""
    claim(dataset, "dataset")
    found = sources.discover_source(source, patient_id_pattern=preparation.patient_id_pattern)
    if preparation.strategy == "patient":
        sources.require_patients(found)
    uri = storage.join(dataset, SOURCE_FOLDER)
    publish_found(uri, found.pairs, found.failures)
    unknown = (
        f"{found.n_unknown} slices have names that match no naming rule; each counts as a patient of its own. "
        "Set preparation.patient_id_pattern."
    )
    warnings = [*([unknown] if found.n_unknown else []), *found.warnings]
    if warnings:
        with logging_to_prefect():
            for warning in warnings:
                logger.warning("discover: %s", warning)
    return SourceHandle(
        uri=uri,
        fingerprint=source_fingerprint(found.pairs, found.failures, preparation),
        n_slices=len(found.pairs),
        n_failed=len(found.failures),
        warnings=tuple(warnings),
    )
