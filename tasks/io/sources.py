"""Labelled sources: pairs of image and mask by name, never by order, and the patient of each.

A source is a prefix with `frames/` and `masks/`, with `images/` and `masks/`, or with an `index.csv`.
"""

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError, DataError, ErrorCode
from tasks.core.naming_rules import Naming, SliceIdentity, custom_naming, identify_slice
from tasks.core.plural import counted
from tasks.core.quoting import known_or_described
from tasks.core.rows import FailureRow, SlicePair
from tasks.io import storage
from tasks.io.formats import KINDS, is_volume, kind_of, shown_suffix, suffix_of, without_suffix
from tasks.io.stored_objects import StoredObject, fingerprint

INDEX_FILE = "index.csv"
INDEX_COLUMNS = ("image", "mask", "patient_id")
_MASK_FOLDER = "masks"
_IMAGE_FOLDERS = ("frames", "images")
MAX_INDEX_DIGITS = 9
_NUMBER = re.compile(r"[-+]?[\d.,]{1,12}")
"""Pattern of a number in a cell that may be quoted; if columns are shifted, a cell may hold anything."""

_KNOWN = ", ".join(KINDS)
_LITTER = {"thumbs.db", "desktop.ini"}  # what file managers leave behind


@dataclass(slots=True)
class Discovery:
    """Result of discovering a source.

    Attributes:
        pairs: Labelled slices, sorted by (case_id, slice_index).
        failures: Rejected files.
        unknown: Images whose names match no rule, each a patient of its own.
    """

    pairs: list[SlicePair] = field(default_factory=list)
    failures: list[FailureRow] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)

    @property
    def n_unknown(self) -> int:
        """Number of labelled slices whose names match no naming rule."""
        return sum(pair.image_uri in self.unknown for pair in self.pairs)

    def reject(self, uri: str, code: ErrorCode, sentence: str) -> None:
        """Add a rejected file."""
        self.failures.append(FailureRow(uri=uri, error_code=code, error=sentence))

    def add(self, image: StoredObject, mask: StoredObject, identity: SliceIdentity) -> None:
        """Add a labelled slice."""
        if not identity.is_known:
            self.unknown.add(image.uri)
        self.pairs.append(
            SlicePair(
                case_id=identity.case_id,
                slice_index=0 if is_volume(image.uri) else identity.slice_index,  # a volume's are numbered from 0
                patient_id=identity.patient_id,
                source=identity.source,
                image_uri=image.uri,
                mask_uri=mask.uri,
                fingerprint=fingerprint([image, mask]),
            )
        )


def discover_source(uri: str, *, patient_id_pattern: str | None = None) -> Discovery:
    """Pair and identify every labelled slice below a URI, reading no pixels.

    Raises:
        ConfigError: If the layout is none of the three, or nothing could be paired.
        StorageError: If the source does not exist or cannot be listed.
    """
    objects = storage.list_objects(uri)
    by_path = {o.path: o for o in objects}
    discovery = Discovery()
    if INDEX_FILE in by_path:
        by_path |= {o.path: o for o in _join_series(objects) if o.uri.endswith("/")}
        _read_index(by_path, discovery)
    else:
        _pair_folders(uri, objects, discovery, patient_id_pattern)
    _reject_duplicates(discovery)
    if not discovery.pairs:
        raise ConfigError(
            f"Found {len(objects)} files below {shown_uri(uri)} but no labelled slice. "
            f"Images and masks must have the same name; images of types {_KNOWN} are read."
        )
    discovery.pairs.sort(key=lambda pair: (pair.case_id, pair.slice_index))
    discovery.failures.sort(key=lambda failure: failure.uri)
    return discovery


def _pair_folders(uri: str, objects: list[StoredObject], discovery: Discovery, pattern: str | None) -> None:
    naming = custom_naming(pattern) if pattern else None
    folders = {o.path.split("/", 1)[0] for o in objects if "/" in o.path}
    image_folder = next((name for name in _IMAGE_FOLDERS if name in folders), None)
    if image_folder is None or _MASK_FOLDER not in folders:
        expected = sorted(folders.intersection((*_IMAGE_FOLDERS, _MASK_FOLDER)))
        raise ConfigError(  # a folder's name may be a patient's
            f"{shown_uri(uri)} holds {counted(len(folders), 'folder')}, of the expected ones "
            f"{', '.join(expected) or 'none'}; frames/ and masks/, images/ and masks/, or an {INDEX_FILE} with the "
            f"columns {', '.join(INDEX_COLUMNS)} was expected."
        )
    images = _by_stem(objects, image_folder, discovery)
    masks = _by_stem(objects, _MASK_FOLDER, discovery)
    for stem in sorted(images.keys() | masks.keys()):
        _pair(stem, images.get(stem, []), masks.get(stem, []), naming, discovery)


def _pair(
    stem: str, images: list[StoredObject], masks: list[StoredObject], naming: Naming | None, discovery: Discovery
) -> None:
    """Add files with the same name as a labelled slice, or reject them."""
    if len(images) == len(masks) == 1:
        discovery.add(images[0], masks[0], identify_slice(PurePosixPath(stem).name, naming))
    elif max(len(images), len(masks)) > 1:
        sentence = f"{len(images)} image(s) and {len(masks)} mask(s) differ only in their suffix; keep one of each."
        for o in [*images, *masks]:
            discovery.reject(o.uri, "duplicate_slice", sentence)
    elif images:
        sentence = "Image has no mask of the same name; add one, all zero if it shows no lesion."
        discovery.reject(images[0].uri, "unpaired_image", sentence)
    else:
        sentence = "Mask has no image of the same name; add it or remove the mask."
        discovery.reject(masks[0].uri, "unpaired_mask", sentence)


def _by_stem(objects: list[StoredObject], folder: str, discovery: Discovery) -> dict[str, list[StoredObject]]:
    """Return the readable files of a folder by their path without suffix."""
    claims: dict[str, list[StoredObject]] = defaultdict(list)
    inside = [
        o for o in objects if o.path.split("/", 1)[0] == folder and PurePosixPath(o.path).name.lower() not in _LITTER
    ]
    for o in _join_series(inside):
        path = PurePosixPath(o.path)
        if o.uri.endswith("/"):
            claims[str(path.relative_to(folder))].append(o)
        elif suffix_of(o.path) in KINDS or (is_volume(o.path) and suffix_of(o.path)):
            claims[without_suffix(str(path.relative_to(folder)))].append(o)
        else:
            sentence = f"Files of type {shown_suffix(o.path)} are not read; known: {_KNOWN}."
            discovery.reject(o.uri, "unsupported_format", sentence)
    return claims


def _join_series(objects: list[StoredObject]) -> Iterator[StoredObject]:
    """Yield files, and each folder below the first level with only DICOM files as one path with a `/`."""
    folders: dict[PurePosixPath, list[StoredObject]] = defaultdict(list)
    for o in objects:
        folders[PurePosixPath(o.path).parent].append(o)
    for folder, files in folders.items():
        if len(folder.parts) > 1 and all(kind_of(o.path) == "dicom" for o in files):
            uri, times = files[0].uri.rpartition("/")[0], [o.modified_s for o in files if o.modified_s is not None]
            size_bytes = sum(o.size_bytes for o in files)
            yield StoredObject(f"{uri}/", str(folder), size_bytes, fingerprint(files), max(times, default=None))
        else:
            yield from files


def _read_index(by_path: dict[str, StoredObject], discovery: Discovery) -> None:
    index_uri = by_path[INDEX_FILE].uri
    try:
        text = storage.read_bytes(index_uri).decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise ConfigError(f"{INDEX_FILE} is not UTF-8 (byte {err.start}). Save it as UTF-8.") from err
    rows = csv.DictReader(io.StringIO(text))
    missing = [name for name in INDEX_COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise ConfigError(
            f"{INDEX_FILE} has the columns {', '.join(rows.fieldnames or ())}; it lacks {', '.join(missing)}. "
            "Optional: case_id, slice_index, source."
        )
    n_seen: Counter[str] = Counter()
    patient_of: dict[str, str] = {}
    for row in rows:
        try:
            image, mask = _indexed_file(by_path, row, "image"), _indexed_file(by_path, row, "mask")
            identity = _indexed_identity(row, n_seen)
            if patient_of.setdefault(identity.case_id, identity.patient_id) != identity.patient_id:
                raise DataError(
                    "index_row", f"Case {identity.case_id} belongs to two patients; give each its own case_id."
                )
        except DataError as err:
            discovery.reject(f"{index_uri}#{rows.line_num}", err.code, f"Line {rows.line_num}: {err.sentence}")
            continue
        n_seen[identity.case_id] += 1
        discovery.add(image, mask, identity)


def _indexed_file(by_path: dict[str, StoredObject], row: dict[str, str | None], column: str) -> StoredObject:
    found = by_path.get(row[column] or "")
    if found is None:
        raise DataError("missing_file", f"The file named under {column} does not exist; mend the index.")
    return found


def _indexed_identity(row: dict[str, str | None], n_seen: Counter[str]) -> SliceIdentity:
    """Return the identity of a row; without slice_index, slices are numbered in the order of the rows."""
    patient_id = (row["patient_id"] or "").strip()
    if not patient_id:
        raise DataError("index_row", "patient_id is empty; a patient is never guessed. Fill it in.")
    case_id = row.get("case_id") or patient_id
    position = row.get("slice_index") or str(n_seen[case_id])
    if not position.isdecimal() or len(position) > MAX_INDEX_DIGITS:
        shown = known_or_described(position, {position} if _NUMBER.fullmatch(position) else (), "value")
        raise DataError("index_row", f"slice_index is {shown}; a whole number from 0 was expected.")
    return SliceIdentity(row.get("source") or "index", patient_id, case_id, int(position))


def _reject_duplicates(discovery: Discovery) -> None:
    whole = {pair.case_id for pair in discovery.pairs if is_volume(pair.image_uri)}

    def key(pair: SlicePair) -> tuple[str, int]:  # a volume claims all slices of its case
        return pair.case_id, -1 if pair.case_id in whole else pair.slice_index

    claims = Counter(map(key, discovery.pairs))
    for pair in discovery.pairs:
        n_claims = claims[key(pair)]
        if n_claims > 1:
            discovery.reject(
                pair.image_uri,
                "duplicate_slice",
                f"{n_claims} files claim slice {pair.slice_index} of case {pair.case_id}; keep one, "
                "or set preparation.patient_id_pattern.",
            )
    discovery.pairs = [pair for pair in discovery.pairs if claims[key(pair)] == 1]
