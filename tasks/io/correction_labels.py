"""Accepted corrections of a segmentation as labels, each verified to be the one that a review accepted.

No lock is needed beside a review that runs: its table of corrections is written last, and a label that it wrote since
is known by its digest, here and when it is read (`stages/labelled_pairs.py`).
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from tasks.core.addresses import shown_uri
from tasks.core.config.intensity import HuConfig
from tasks.core.digests import digest
from tasks.core.errors import ConfigError, ModelError, StorageError
from tasks.core.naming_rules import Naming, SliceIdentity, identify_slice
from tasks.core.rows import CorrectionRow, SlicePair
from tasks.core.schemas import SegmentationManifest
from tasks.io import storage
from tasks.io.discovery import Discovery
from tasks.io.formats import KINDS, suffix_of, without_suffix
from tasks.io.outputs import bundles, reviews, segmentations
from tasks.io.pseudonyms import Seal

CHANGED: Final = (
    "The label is not the one that a review accepted: it was changed or removed in review/accepted. Run `lesions "
    "review` again, which makes it anew of the file in review/corrections, then prepare again."
)


@dataclass(frozen=True, slots=True)
class Label:
    """Label made of a correction.

    Attributes:
        identity: Identity by the naming rule.
        is_public: Whether a built-in rule found it.
        is_volume: Whether it is a volume, which is its whole case.
        image_uri: URI of the image beside it.
        mask_uri: URI of the label.
        mask_sha256: Digest of the label's file.
        source_uri: URI of the scan's file or folder.
        scan: Fingerprint of the scan.
        fingerprint: Digest of scan and label.
        seal: Key, if ids are hashed.
    """

    identity: SliceIdentity
    is_public: bool
    is_volume: bool
    image_uri: str
    mask_uri: str
    mask_sha256: str
    source_uri: str
    scan: str
    fingerprint: str
    seal: Seal | None

    @property
    def hashed_patient(self) -> str:
        """Hashed id of the patient; empty if ids are not hashed."""
        return self.seal.id_of(self.identity.patient_id) if self.seal else ""

    def as_pair(self) -> SlicePair:
        """Return the label with its image as a labelled slice or volume."""
        return SlicePair(
            case_id=self.identity.case_id,
            slice_index=0 if self.is_volume else self.identity.slice_index,
            patient_id=self.identity.patient_id,
            source=self.identity.source,
            image_uri=self.image_uri,
            mask_uri=self.mask_uri,
            mask_sha256=self.mask_sha256,
            fingerprint=self.fingerprint,
        )


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Reviewed segmentation: its address, its manifest, and its accepted corrections by scan."""

    uri: str
    manifest: SegmentationManifest
    rows: list[CorrectionRow]

    @classmethod
    def at(cls, uri: str) -> "Reviewed":
        """Return the reviewed segmentation at a URI.

        Raises:
            ConfigError: If there is none, or its table of corrections is damaged.
        """
        manifest = segmentations.find_manifest(uri)
        if manifest is None:
            raise ConfigError(
                f"preparation.corrections names {shown_uri(uri)}, which holds no finished segmentation. Name the "
                "output of `lesions segment` that was reviewed."
            )
        accepted = [row for row in reviews.read_corrections(uri) if row.status == "accepted"]
        return cls(uri, manifest, sorted(accepted, key=lambda row: row.scan_id))

    def labels(self, naming: Naming | None, found: Discovery) -> Iterator[Label]:
        """Yield the labels, of a stack one per slice; one that is not as it was accepted is rejected in `found`."""
        if not self.rows:
            return
        seal = Seal.from_environment() if self.manifest.segmentation.hash_ids else None
        intact = storage.map_in_parallel(lambda row: reviews.intact_label(self.uri, row), self.rows)
        for row, masks in zip(self.rows, intact, strict=True):
            sources = [seal.open_text(source) if seal else source for source in row.source_uris]
            files = reviews.label_uris(self.uri, row.scan_id, row.layout or "volume", len(sources))
            if masks is None:
                found.reject(files[0][1], "changed", CHANGED)
                continue
            parts = zip(sources, files, masks, strict=True)
            for number, (source_uri, (image_uri, mask_uri), sha256) in enumerate(parts):
                identity = _identity(source_uri, self.manifest.scans_uri, row, number, naming)
                yield Label(
                    identity,
                    is_public=identity.is_known and naming is None,
                    is_volume=row.layout in ("volume", "series"),
                    image_uri=image_uri,
                    mask_uri=mask_uri,
                    mask_sha256=sha256,
                    source_uri=source_uri.rstrip("/"),
                    scan=row.source_fingerprint or "",
                    fingerprint=digest(source=row.source_fingerprint, label=row.label_sha256, slice=number),
                    seal=seal,
                )

    def warning(self, hu: HuConfig) -> str | None:
        """Return a warning if the masks were predicted with another mapping of CT values than a dataset's; else None.

        Args:
            hu: Mapping of the dataset.
        """
        predicted = self._hu()
        if not self.rows or predicted is None or _shown(predicted) == _shown(hu):
            return None
        return (
            f"Corrections of {shown_uri(self.uri)} are of a model with the CT values {_shown(predicted)}, this dataset "
            f"has {_shown(hu)}. Labels and volumes are not affected; corrected 8-bit slices keep the grey values they "
            "have. Set preparation.hu to the same if they were exported so."
        )

    def _hu(self) -> HuConfig | None:
        """Return the mapping of CT values of the model; None if its output does not say and the bundle is gone."""
        if self.manifest.hu is not None:
            return self.manifest.hu
        try:
            card = bundles.read_card(self.manifest.model_uri)
        except (ConfigError, ModelError, StorageError):
            return None
        return card.hu if card.digest == self.manifest.model_digest else None


def _identity(source_uri: str, scans_uri: str, row: CorrectionRow, number: int, naming: Naming | None) -> SliceIdentity:
    identity = identify_slice(_stem(source_uri, scans_uri), naming)
    if row.layout == "stack" and not identity.is_known:  # its slices are of one patient, whatever they are called
        return replace(identity, patient_id=row.scan_id, case_id=row.scan_id, slice_index=number)
    return identity


def _shown(hu: HuConfig) -> str:
    """Return a mapping of CT values in words."""
    if hu.mapping == "slice_min_max":
        return "minimum to maximum of each slice"
    return f"window level {hu.window_level_hu:g} HU, width {hu.window_width_hu:g} HU"


def _stem(uri: str, scans_uri: str) -> str:
    """Return the path of a scan below its collection, without suffix; a member of an archive lies in its folder."""
    root = f"{scans_uri.rstrip('/')}/"
    path = uri.removeprefix(root) if uri.startswith(root) else uri.rpartition("/")[2]
    archive, _, member = path.partition("!/")
    path = f"{without_suffix(archive)}/{member}" if member else archive
    return unicodedata.normalize("NFC", without_suffix(path) if suffix_of(path) in KINDS else path)
