"""Labelled slices found below a source, and the files that were rejected on the way."""

from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, field

from tasks.core.errors import ErrorCode
from tasks.core.naming_rules import SliceIdentity, SliceName
from tasks.core.rows import FailureRow, SlicePair
from tasks.io.stored_objects import StoredObject, fingerprint

Claim = tuple[str, int | None]
"""Case and slice that a file claims; without a slice, the whole case."""


@dataclass(slots=True)
class Discovery:
    """Result of discovering a source.

    Attributes:
        pairs: Labelled slices, sorted by (case_id, slice_index).
        failures: Rejected files.
        unknown: Name of each image, by URI, that matches no rule; each is a patient of its own.
        volumes: Images that hold a whole volume.
        public: Images identified by a built-in naming rule: their ids mean the same in every folder.
        warnings: Sentences about what was left out, with counts and without names.
    """

    pairs: list[SlicePair] = field(default_factory=list)
    failures: list[FailureRow] = field(default_factory=list)
    unknown: dict[str, SliceName] = field(default_factory=dict)
    volumes: set[str] = field(default_factory=set)
    public: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    @property
    def n_unknown(self) -> int:
        """Number of labelled slices whose names match no naming rule."""
        return sum(pair.image_uri in self.unknown for pair in self.pairs)

    @property
    def unknown_slices(self) -> list[SliceName]:
        """Names of the labelled slices, not volumes, that match no naming rule."""
        return [
            self.unknown[pair.image_uri]
            for pair in self.pairs
            if pair.image_uri in self.unknown and pair.image_uri not in self.volumes
        ]

    def reject(self, uri: str, code: ErrorCode, sentence: str) -> None:
        """Add a rejected file."""
        self.failures.append(FailureRow(uri=uri, error_code=code, error=sentence))

    def add(
        self,
        image: StoredObject,
        mask: StoredObject,
        *,
        identity: SliceIdentity,
        lung: StoredObject | None = None,
        is_volume: bool = False,
        is_public: bool = False,
        name: SliceName = SliceName(""),
    ) -> None:
        """Add a labelled slice, with its lung mask if there is one."""
        if not identity.is_known:
            self.unknown[image.uri] = name
        if is_volume:
            self.volumes.add(image.uri)
        if is_public:
            self.public.add(image.uri)
        self.pairs.append(
            SlicePair(
                case_id=identity.case_id,
                slice_index=0 if is_volume else identity.slice_index,  # a volume's are numbered from 0
                patient_id=identity.patient_id,
                source=identity.source,
                image_uri=image.uri,
                mask_uri=mask.uri,
                lung_uri=lung.uri if lung else None,
                fingerprint=fingerprint([image, mask, *([lung] if lung else [])]),
            )
        )

    def reject_duplicates(self) -> None:
        """Reject all files that claim one slice; which of them is meant is not guessed."""
        claimed = self.claimed(self.volume_cases())
        for pairs in claimed.values():
            for pair in pairs if len(pairs) > 1 else []:
                self.reject(
                    pair.image_uri,
                    "duplicate_slice",
                    f"{len(pairs)} files claim slice {pair.slice_index} of case {pair.case_id}; keep one, "
                    "or set preparation.patient_id_pattern.",
                )
        self.pairs = [pair for pairs in claimed.values() for pair in pairs if len(pairs) == 1]

    def volume_cases(self) -> set[str]:
        """Return the cases of which a volume is there."""
        return {pair.case_id for pair in self.pairs if pair.image_uri in self.volumes}

    def claimed(self, volume_cases: Container[str]) -> dict[Claim, list[SlicePair]]:
        """Return the labelled slices by what they claim: a slice, or a whole case of which a volume is there."""
        found: dict[Claim, list[SlicePair]] = defaultdict(list)
        for pair in self.pairs:
            found[pair.case_id, None if pair.case_id in volume_cases else pair.slice_index].append(pair)
        return found
