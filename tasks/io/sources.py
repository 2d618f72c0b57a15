"""Labelled sources: pairs of image and mask by name, never by order, and the patient of each.

A source is a prefix with an `index.csv` or in one of the layouts of `source_layouts`; or one whose direct subfolders
are such sources, which are taken together. Lung masks are optional.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError
from tasks.core.naming_hint import ONE_EACH, pattern_that_fits
from tasks.core.naming_rules import Naming, custom_naming
from tasks.core.plural import counted
from tasks.core.quoting import SHOWN_SUFFIXES
from tasks.core.rows import FailureRow, SlicePair
from tasks.io import storage
from tasks.io.discovery import Claim, Discovery
from tasks.io.formats import KINDS, suffix_of
from tasks.io.source_folders import is_litter, join_series, pair_files
from tasks.io.source_index import INDEX_COLUMNS, INDEX_FILE, read_index
from tasks.io.source_layouts import EXPECTED, by_folder, by_mark, has_folders, image_folder, known_folders
from tasks.io.stored_objects import StoredObject


def discover_source(uri: str, *, patient_id_pattern: str | None = None) -> Discovery:
    """Pair and identify every labelled slice below a URI, reading no pixels.

    If the URI itself holds none of the layouts, each direct subfolder that holds one is taken. A slice that several
    of them hold, by the built-in naming rules, is taken from the one with most labelled slices, and a warning counts
    the others.

    Raises:
        ConfigError: If the layout is none of the known ones, or nothing could be paired.
        StorageError: If the source does not exist or cannot be listed.
    """
    objects = storage.list_objects(uri)
    naming = custom_naming(patient_id_pattern) if patient_id_pattern else None
    below = _by_folder(objects)
    if _is_source(objects):
        discovery = _take(objects, naming)
        if not _has_index(objects):
            discovery.warnings += _ignored(sum(map(_is_source, below.values())))
    elif any(map(_is_source, below.values())):
        discovery = _take_subfolders(objects, below, naming)
    else:
        _require_marked(uri, objects)
        discovery = _take(objects, naming)
    if not discovery.pairs:
        raise ConfigError(
            f"Found {len(objects)} files below {shown_uri(uri)} but no labelled slice. {_reasons(discovery.failures)}"
            f"{_hint(discovery)}An image and its mask have one name, the mask's perhaps with a mark such as _mask; "
            f"read are {', '.join(KINDS)}."
        )
    discovery.pairs.sort(key=lambda pair: (pair.case_id, pair.slice_index))
    discovery.failures.sort(key=lambda failure: failure.uri)
    return discovery


def require_patients(found: Discovery) -> None:
    """Refuse a split by patient where most names are unknown and slices of one patient would be in several splits.

    Raises:
        ConfigError: With a pattern under which they would be of fewer patients.
    """
    unknown = found.unknown_slices
    fitting = pattern_that_fits(unknown) if len(unknown) > len(found.pairs) / 2 else None
    if fitting:
        pattern, n_patients = fitting
        raise ConfigError(
            f"{len(unknown)} of {counted(len(found.pairs), 'slice')} have names that match no naming rule, and each "
            f"would be a patient of its own. By the pattern '{pattern}' they are of {n_patients} patients: set "
            f"preparation.patient_id_pattern to it, or to '{ONE_EACH}' if each slice is of another patient."
        )


def _reasons(failures: Sequence[FailureRow]) -> str:
    """Return why files were rejected: their number by code, each with the first sentence."""
    first = {failure.error_code: failure.error for failure in reversed(failures)}
    counts = Counter(failure.error_code for failure in failures)
    return "".join(f"{counted(n, 'file')}: {code} ({first[code]}) " for code, n in counts.most_common())


def _hint(found: Discovery) -> str:
    """Return the pattern under which names that no rule knows are of several patients, if there is one."""
    fitting = pattern_that_fits([name for uri, name in found.unknown.items() if uri not in found.volumes])
    if not fitting:
        return ""
    pattern, n_patients = fitting
    return f"By preparation.patient_id_pattern '{pattern}' they are of {n_patients} patients. "


def _is_source(objects: Sequence[StoredObject]) -> bool:
    return _has_index(objects) or has_folders(objects)


def _has_index(objects: Sequence[StoredObject]) -> bool:
    return any(o.path == INDEX_FILE for o in objects)


def _by_folder(objects: Sequence[StoredObject]) -> dict[str, list[StoredObject]]:
    """Return the files of each direct subfolder, by its name, with their paths in it."""
    below: dict[str, list[StoredObject]] = defaultdict(list)
    for o in objects:
        name, _, path = o.path.partition("/")
        if path:
            below[name].append(replace(o, path=path))
    return below


def _take(objects: Sequence[StoredObject], naming: Naming | None, *, folder: str = "") -> Discovery:
    """Return the labelled slices of one source, those claimed twice rejected."""
    discovery = Discovery()
    if _has_index(objects):
        folders = (o for o in join_series(objects) if o.uri.endswith("/"))
        read_index([*objects, *folders], discovery)
    else:
        files = by_folder(objects) if has_folders(objects) else by_mark(objects)
        pair_files(files, discovery, naming, folder=folder)
        used = {o.uri for o in files}
        discovery.warnings += _beside([o for o in objects if o.uri not in used])
    discovery.reject_duplicates()
    return discovery


def _take_subfolders(
    objects: Sequence[StoredObject], below: Mapping[str, Sequence[StoredObject]], naming: Naming | None
) -> Discovery:
    """Return the labelled slices of all direct subfolders that are sources."""
    sources = [name for name, members in below.items() if _is_source(members) or by_mark(members)]
    taken = {name: _take(below[name], naming, folder=name) for name in sources}
    joined = _join(taken)
    joined.warnings += _left_out({name: members for name, members in below.items() if name not in taken}, objects)
    return joined


def _require_marked(uri: str, objects: Sequence[StoredObject]) -> None:
    """Refuse a source whose masks do not lie beside their images: the layout is none of the known ones.

    Raises:
        ConfigError: With what was found and what was expected.
    """
    if not by_mark(objects):
        raise ConfigError(  # a folder's name may be a patient's
            f"{shown_uri(uri)} holds {counted(len(_by_folder(objects)), 'folder')}, of the expected ones "
            f"{', '.join(known_folders(objects)) or 'none'}; {EXPECTED}, or an {INDEX_FILE} with the columns "
            f"{', '.join(INDEX_COLUMNS)} was expected, there or in folders directly below."
        )


def _join(parts: Mapping[str, Discovery]) -> Discovery:
    """Return the slices of several folders as one source.

    Ids of a built-in naming rule mean the same in every folder, so a slice that two of them hold is the same slice,
    and one suffices. All other ids are a folder's own: a slice claimed twice may show two patients, and is rejected.
    """
    ranked = sorted(parts, key=lambda name: (-len(parts[name].pairs), name))
    joined = Discovery(failures=[failure for part in parts.values() for failure in part.failures])
    volume_cases: set[str] = set()
    for part in parts.values():
        joined.unknown |= part.unknown
        joined.volumes |= part.volumes
        joined.public |= part.public
        volume_cases |= part.volume_cases()
    claims: dict[Claim, list[tuple[str, list[SlicePair]]]] = defaultdict(list)
    for name in ranked:
        for claim, pairs in parts[name].claimed(volume_cases).items():
            claims[claim].append((name, pairs))
    n_repeated: Counter[str] = Counter()
    folders_of: dict[str, set[str]] = defaultdict(set)
    for (name, kept), *others in claims.values():
        rivals = [*kept, *(pair for _, pairs in others for pair in pairs)]
        if others and not all(pair.image_uri in joined.public for pair in rivals):
            _reject_rivals(rivals, joined)
            continue
        joined.pairs += kept
        n_repeated.update({folder: len(pairs) for folder, pairs in others})
        for pair in kept:
            if pair.image_uri not in joined.public:
                folders_of[pair.patient_id].add(name)
    joined.warnings += _repeated(n_repeated)
    joined.warnings += _shared(sum(len(folders) > 1 for folders in folders_of.values()))
    return joined


def _reject_rivals(rivals: Sequence[SlicePair], joined: Discovery) -> None:
    """Reject slices of several folders that may show different patients with one id."""
    for pair in rivals:
        joined.reject(
            pair.image_uri,
            "duplicate_slice",
            f"{len(rivals)} files of several folders claim slice {pair.slice_index} of case {pair.case_id}; keep one, "
            f"or give the patients of each folder ids of their own in an {INDEX_FILE}.",
        )


def _ignored(n_folders: int) -> Iterator[str]:
    """Yield a warning about sources below one that has images and masks of its own, if there are any."""
    if n_folders:
        yield (
            f"Left out, because the source has images and masks of its own: {counted(n_folders, 'folder')} "
            "with images and masks below it. To use all, move its own into a folder beside them."
        )


def _beside(unused: Sequence[StoredObject]) -> Iterator[str]:
    """Yield a warning about images or masks beside the folders of a source, but those of sources below it, if any."""
    sources = {name for name, members in _by_folder(unused).items() if _is_source(members)}
    left = [o for o in unused if o.path.partition("/")[0] not in sources and not is_litter(o.path)]
    n = sum(suffix_of(o.path) in KINDS for o in left)
    if n:
        yield f"Left out of the source: {counted(n, 'file')} of images or masks beside the folders that are used."


def _repeated(n_by_folder: Mapping[str, int]) -> Iterator[str]:
    """Yield a warning about slices that a larger folder holds as well, if there are any."""
    n = sum(n_by_folder.values())
    if n:
        yield (
            f"Left out, because a larger folder of the source holds the same case and slice: {counted(n, 'slice')} of "
            f"{counted(len(n_by_folder), 'folder')}. Each slice is used once."
        )


def _shared(n_patients: int) -> Iterator[str]:
    """Yield a warning about ids of patients that several folders use, if there are any."""
    if n_patients:
        yield (
            f"Patient ids used in several folders of the source: {n_patients}; each counts as one patient. If they are "
            f"different people, give them ids of their own in an {INDEX_FILE}."
        )


def _left_out(folders: Mapping[str, Sequence[StoredObject]], objects: Sequence[StoredObject]) -> Iterator[str]:
    """Yield a warning about folders that are no sources and files beside them, if there are any.

    Names may be patients' and are not shown; nor are unknown suffixes.
    """
    beside = [o for o in objects if "/" not in o.path]
    files = [o for o in (*beside, *(o for members in folders.values() for o in members)) if not is_litter(o.path)]
    if not files:
        return
    kinds = Counter(_kind(o) for o in files)
    shown = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    n_unlabelled = sum(image_folder(members) is not None for members in folders.values())
    images_alone = f" ({n_unlabelled} with images but no masks/)" if n_unlabelled else ""
    yield (
        f"Left out of the source, because they are no labelled slices: {counted(len(folders), 'folder')}{images_alone} "
        f"and {counted(sum(not is_litter(o.path) for o in beside), 'file')} beside the folders; in all {shown}."
    )


def _kind(o: StoredObject) -> str:
    """Return the suffix of a file if it may be quoted."""
    suffix = suffix_of(o.path) or "without suffix"
    return suffix if suffix in SHOWN_SUFFIXES | KINDS.keys() else "others"
