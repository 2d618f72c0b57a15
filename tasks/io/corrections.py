"""Accepted corrections of segmentations as labelled slices and volumes of a preparation, beside its source.

The patient of a correction is that of the same image in the source; else it follows from the name of the scan by the
naming rule, so that corrections stay on their patient's side of the split.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tasks.core.addresses import shown_uri
from tasks.core.catalog import Split
from tasks.core.config.intensity import HuConfig
from tasks.core.digests import digest
from tasks.core.errors import StorageError
from tasks.core.naming_rules import custom_naming
from tasks.core.plural import counted
from tasks.core.rows import CorrectionSource, SlicePair
from tasks.io import storage
from tasks.io.correction_labels import Label, Reviewed
from tasks.io.discovery import Discovery

HASHED_SOURCE: Final = "hashed"
"""Source of corrected scans with hashed ids whose name would be taken from a file."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """Corrections that were added to a source.

    Attributes:
        sources: Segmentations that they are of.
        splits: Splits of patients that were known by their hashed id alone before, by patient.
        n_replaced: Labels of the source that they replace.
        n_unknown: Labels that count as a patient of their own, because no naming rule knows their scan.
        warnings: Sentences about segmentations made with other CT values than the dataset.
    """

    sources: tuple[CorrectionSource, ...] = ()
    splits: Mapping[str, Split] = field(default_factory=dict)
    n_replaced: int = 0
    n_unknown: int = 0
    warnings: tuple[str, ...] = ()


def add_corrections(
    found: Discovery,
    uris: Sequence[str],
    *,
    patient_id_pattern: str | None,
    hu: HuConfig,
    assigned: Mapping[str, Split],
) -> Corrections:
    """Add the accepted corrections of segmentations to a source; of the same case and slice they replace the label.

    Args:
        found: Source as discovered; it receives the corrections, and rejections of those that fit nowhere.
        uris: URIs of segmentations; of two corrections of one slice the one of the later URI counts.
        patient_id_pattern: Naming rule of the user; without it, those of public collections are tried.
        hu: Mapping of CT values of the dataset.
        assigned: Splits of the earlier dataset, by patient.

    Raises:
        ConfigError: If a URI holds no segmentation, a table is damaged, or ids are hashed and the key is missing.
        StorageError: If the store does not answer.
    """
    naming = custom_naming(patient_id_pattern) if patient_id_pattern else None
    sources: list[CorrectionSource] = []
    labels: list[Label] = []
    warnings: list[str] = []
    for reviewed in map(Reviewed.at, dict.fromkeys(uris)):
        own = list(reviewed.labels(naming, found))
        taken = {label.scan for label in own}  # without those whose label was changed
        rows = [row for row in reviewed.rows if row.source_fingerprint in taken]
        made_of = sorted(f"{row.source_fingerprint}\t{row.label_sha256}" for row in rows)
        sources.append(CorrectionSource(uri=shown_uri(reviewed.uri), n_scans=len(rows), digest=digest(labels=made_of)))
        labels += own
        warnings += filter(None, [reviewed.warning(hu)])
    known = {pair.patient_id for pair in found.pairs} | assigned.keys()
    known |= {label.identity.patient_id for label in labels if label.seal is None}
    splits = {
        label.identity.patient_id: assigned[hashed]
        for label in labels
        if (hashed := label.hashed_patient) in assigned and label.identity.patient_id in known - assigned.keys()
    }
    n_replaced, n_unknown = _merge(found, [_pseudonymised(label, known) for label in labels])
    found.pairs.sort(key=lambda pair: (pair.case_id, pair.slice_index))
    found.failures.sort(key=lambda failure: failure.uri)
    return Corrections(tuple(sources), splits, n_replaced, n_unknown, tuple(warnings))


def _pseudonymised(label: Label, known: Iterable[str]) -> Label:
    """Return a label with hashed ids if those of its segmentation are, but for a patient known by name already."""
    identity = label.identity
    if label.seal is None or identity.patient_id in known:
        return label
    hashed = replace(
        identity,
        patient_id=label.hashed_patient,
        case_id=label.seal.id_of(identity.case_id),
        source=identity.source if label.is_public else HASHED_SOURCE,
    )
    return replace(label, identity=hashed)


def _merge(found: Discovery, labels: Sequence[Label]) -> tuple[int, int]:
    """Put labels beside or in place of those of a source; return how many replace one, and how many no rule knows."""
    volume_cases = found.volume_cases() | {label.identity.case_id for label in labels if label.is_volume}
    by_image = {pair.image_uri.rstrip("/"): pair for pair in found.pairs}
    of_source: dict[str, list[SlicePair]] = defaultdict(list)
    for pair in found.pairs:
        of_source[pair.case_id].append(pair)
    replaced: dict[str, SlicePair | None] = {}  # by the URI of the image in the source
    added: list[Label] = []
    images: set[str] = set()
    for label in _newest(labels, found):
        rivals = of_source[label.identity.case_id]
        same = by_image.get(label.source_uri) or _copy_of(label, rivals)
        if same:
            # with the image it was drawn on, which the source may have replaced since
            files = {name: getattr(label, name) for name in ("image_uri", "mask_uri", "mask_sha256")}
            whole = digest(pair=same.fingerprint, label=label.fingerprint)
            replaced[same.image_uri] = same.model_copy(update={**files, "fingerprint": whole})
            images |= {label.image_uri} if label.is_volume else set()
        elif reason := _conflict(label, rivals, volume_cases):
            found.reject(label.mask_uri, "duplicate_slice", reason)
        else:
            replaced |= {pair.image_uri: None for pair in rivals if _is_replaced(pair, label)}
            added.append(_as_known(label, rivals))
    kept = [replaced.get(pair.image_uri, pair) for pair in found.pairs]
    found.pairs = [*(pair for pair in kept if pair is not None), *(label.as_pair() for label in added)]
    found.volumes |= images | {label.image_uri for label in added if label.is_volume}
    return len(replaced), sum(not label.identity.is_known for label in added)


def _newest(labels: Iterable[Label], found: Discovery) -> Iterator[Label]:
    """Yield the last correction of each place; those of several scans that claim one place are rejected."""
    claims: dict[tuple[str, int | None], list[Label]] = defaultdict(list)
    for label in labels:
        claims[label.identity.case_id, _place(label)].append(label)
    for (case_id, _), rivals in claims.items():
        # two series may lie in one folder
        if len({(label.source_uri, label.scan) for label in rivals}) == 1 or all(label.is_public for label in rivals):
            yield rivals[-1]
            continue
        for label in rivals:
            found.reject(
                label.mask_uri,
                "duplicate_slice",
                f"Corrections of {len(rivals)} scans claim the same place in case {case_id}; set "
                "preparation.patient_id_pattern so that they are told apart.",
            )


def _place(label: Label) -> int | None:
    """Return the slice that a label is of; None for a whole case."""
    return None if label.is_volume else label.identity.slice_index


def _is_replaced(pair: SlicePair, label: Label) -> bool:
    return label.is_volume or pair.slice_index == label.identity.slice_index


def _as_known(label: Label, rivals: Sequence[SlicePair]) -> Label:
    """Return a label with patient and source as the source has them for its case."""
    if not rivals:
        return label
    first = rivals[0]
    return replace(label, identity=replace(label.identity, patient_id=first.patient_id, source=first.source))


def _copy_of(label: Label, rivals: Sequence[SlicePair]) -> SlicePair | None:
    """Return the pair whose image is a copy of the scan; asked only where equal names may be of two patients."""
    if label.identity.is_known or len(rivals) != 1 or "!/" in label.source_uri:
        return None
    try:
        is_copy = storage.read_bytes(label.source_uri) == storage.read_bytes(rivals[0].image_uri)
    except StorageError:  # a folder, a member of an archive, or scans that this machine may not read
        return None
    return rivals[0] if is_copy else None


def _conflict(label: Label, rivals: Sequence[SlicePair], volume_cases: set[str]) -> str | None:
    """Return why a correction can be put neither beside the labels of a source nor in their place."""
    case_id = label.identity.case_id
    if rivals and not label.identity.is_known:
        return (
            f"The correction and {counted(len(rivals), 'label')} of the source are of case {case_id} by names that no "
            "rule knows, and may be of two patients. Set preparation.patient_id_pattern."
        )
    if not label.is_volume and case_id in volume_cases:
        return f"The correction is of a slice, and case {case_id} is there as a volume. Correct the volume instead."
    return None
