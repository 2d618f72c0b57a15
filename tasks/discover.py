"""Prefect task that lists the labelled slices of a source."""

from prefect import task

from tasks.core.config.preparation import PreparationConfig
from tasks.core.digests import digest
from tasks.core.handles import SourceHandle
from tasks.io import sources, storage
from tasks.io.outputs.datasets import SOURCE_FOLDER
from tasks.io.outputs.ownership import claim
from tasks.io.versions import code_version
from tasks.runtime.retries import STORAGE_RETRIES


@task(name="discover", **STORAGE_RETRIES)
def discover(source: str, dataset: str, preparation: PreparationConfig) -> SourceHandle:
    """Pair the images and masks below `source`, identify their patients, and write them as a table into the dataset."""
    claim(dataset, "dataset")
    found = sources.discover_source(source, patient_id_pattern=preparation.patient_id_pattern)
    uri = storage.join(dataset, SOURCE_FOLDER)
    sources.publish(uri, found)
    fingerprint = digest(
        preparation=preparation.model_dump(mode="json", exclude={"max_failed_fraction"}),
        code=code_version(),
        slices=sources.identity_fingerprint(found.pairs),
        failures=[failure.uri for failure in found.failures],
    )
    warning = (
        f"{found.n_unknown} slices have names that match no naming rule; each counts as a patient of its own. "
        "Set preparation.patient_id_pattern."
    )
    return SourceHandle(
        uri=uri,
        fingerprint=fingerprint,
        n_slices=len(found.pairs),
        n_failed=len(found.failures),
        patients={pair.patient_id: pair.source for pair in found.pairs},
        warnings=(warning,) if found.n_unknown else (),
    )
