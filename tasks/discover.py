"""Prefect task that lists the labelled slices of a source."""

import logging

from prefect import task

from tasks.core.config.preparation import PreparationConfig
from tasks.core.handles import SourceHandle
from tasks.core.plural import counted
from tasks.io import sources, storage
from tasks.io.corrections import Corrections, add_corrections
from tasks.io.discovery import Discovery
from tasks.io.outputs import datasets
from tasks.io.outputs.datasets import SOURCE_FOLDER
from tasks.io.outputs.ownership import claim
from tasks.io.source_tables import publish_found, source_fingerprint
from tasks.runtime.addresses import locate
from tasks.runtime.retries import STORAGE_RETRIES
from tasks.runtime.run_logging import logging_to_prefect

logger = logging.getLogger(__name__)


@task(name="discover", **STORAGE_RETRIES)
def discover(source: str, dataset: str, preparation: PreparationConfig) -> SourceHandle:
    """Pair images and masks below `source`, add corrections, identify patients, and write tables into the dataset."""
    claim(dataset, "dataset")
    found = sources.discover_source(source, patient_id_pattern=preparation.patient_id_pattern)
    if preparation.strategy == "patient":
        sources.require_patients(found)
    corrections = _add_corrections(found, dataset, preparation)
    uri = storage.join(dataset, SOURCE_FOLDER)
    publish_found(uri, found.pairs, found.failures, splits=corrections.splits)
    unknown = (
        f"{counted(found.n_unknown, 'labelled image')} without a name that matches a naming rule; each counts as a "
        "patient of its own. Set preparation.patient_id_pattern."
    )
    corrected = (
        f"{corrections.n_unknown} corrections are of scans whose names match no naming rule; each counts as a patient "
        "of its own, and may lie in another split than labels of the same patient. Set preparation.patient_id_pattern."
    )
    warnings = [
        *([unknown] if found.n_unknown else []),
        *([corrected] if corrections.n_unknown else []),
        *corrections.warnings,
        *found.warnings,
    ]
    if warnings:
        with logging_to_prefect():
            for warning in warnings:
                logger.warning("discover: %s", warning)
    return SourceHandle(
        uri=uri,
        fingerprint=source_fingerprint(found.pairs, found.failures, preparation),
        n_slices=len(found.pairs),
        n_failed=len(found.failures),
        corrections=corrections.sources,
        warnings=tuple(warnings),
    )


def _add_corrections(found: Discovery, dataset: str, preparation: PreparationConfig) -> Corrections:
    """Add the accepted corrections that the preparation names to a source."""
    if not preparation.corrections:
        return Corrections()
    earlier = datasets.find_card(dataset)
    added = add_corrections(
        found,
        [locate(uri) for uri in preparation.corrections],
        patient_id_pattern=preparation.patient_id_pattern,
        hu=preparation.hu,
        assigned=earlier.assignments if earlier else {},
    )
    n_scans = sum(source.n_scans for source in added.sources)
    with logging_to_prefect():
        scans = counted(n_scans, "corrected scan")
        logger.info("discover: %s, %d labels of the source replaced", scans, added.n_replaced)
    return added
