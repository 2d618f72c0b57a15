"""Ownership of output folders: runs write only to folders that are empty or that runs of this project wrote."""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, get_args

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError, StorageError
from tasks.core.plural import counted
from tasks.core.schemas import WEIGHTS_FILE
from tasks.io import checkpoints, file_systems, job_files, ledger, output_lock, storage
from tasks.io.outputs import bundles, datasets, evaluations, reviews, segmentations
from tasks.io.stored_objects import StoredObject

OutputKind = Literal["dataset", "bundle", "evaluation", "segmentation"]

MANIFESTS: Final[dict[OutputKind, tuple[str, frozenset[str]]]] = {
    "dataset": (datasets.CARD_FILE, frozenset({"fingerprint", "assignments"})),
    "bundle": (bundles.CARD_FILE, frozenset({"architecture", "files"})),
    "evaluation": (evaluations.METRICS_FILE, frozenset({"per_patient", "model_digest"})),
    "segmentation": (segmentations.MANIFEST_FILE, frozenset({"run_id", "params_digest"})),
}
"""File of each kind of output that is written last, and keys that distinguish it from other files of that name."""

MARK: Final = ".lesions.json"
"""Hidden mark, written first, by which an output without manifest is recognised."""

_FOLDERS: Final = {
    *(*segmentations.FOLDERS, reviews.FOLDER, ledger.FOLDER),
    *(datasets.SOURCE_FOLDER, datasets.SLICES_FOLDER, evaluations.FIGURES_FOLDER),
    *(bundles.CURVES_FOLDER, bundles.FOLDS_FOLDER, checkpoints.FOLDER, output_lock.FOLDER, job_files.FOLDER),
}
_FILES: Final = {
    *(MARK, *(name for name, _ in MANIFESTS.values())),
    *(segmentations.SCANS_FILE, segmentations.REPORT_FILE, evaluations.REPORT_FILE),
    *(datasets.CASES_FILE, datasets.FAILURES_FILE, datasets.DUPLICATES_FILE, datasets.CARD_PAGE),
    *(bundles.HISTORY_FILE, bundles.SELF_TEST_FILE, bundles.CARD_PAGE, WEIGHTS_FILE),
}
"""Files of each kind of output; any other file below it is foreign."""

_WORKING_FILES: Final = (
    (re.compile(r"lease/\d{8}\.json"), frozenset({"run_id", "heartbeat_at"})),
    (re.compile(r"ledger/\d{8}T\d{12}Z-[^/]+/.+\.json"), frozenset({"scan_id", "reader_version"})),
    (re.compile(r"ledger/\d{8}T\d{12}Z-[^/]+\.parquet"), None),
)
"""Files of a run that has not ended, by path in the output, and keys of those that are JSON."""

_MAX_JSON_BYTES: Final = 64 << 20
_MAX_NEAR_LOOKED_AT: Final = 100
"""Folders below a wrong address in which a segmentation is looked for."""
_MAX_NEAR: Final = 3
"""Segmentations there that are named."""
_KNOWN_NAMES: Final = {
    *("frames/", "images/", "imagesTr/", "masks/", "labels/", "labelsTr/", "lungs/"),
    *("previews/", "slices/", "index.csv"),
}


def claim(uri: str, kind: OutputKind) -> None:
    """Mark an empty output as owned; an owned one is left unchanged.

    Raises:
        ConfigError: If it has files that no run of this kind wrote.
        StorageError: If the store refuses or does not answer.
    """
    require_ours(uri, kind)
    if _marked_kind(uri) != kind:
        storage.publish(storage.join(uri, MARK), json.dumps({"kind": kind}).encode())


def require_ours(uri: str, kind: OutputKind) -> None:
    """Refuse an output with files that no run of this kind wrote.

    Raises:
        ConfigError: If there are any.
        StorageError: If the store does not answer.
    """
    if storage.is_file(uri):
        raise ConfigError(f"The output {shown_uri(uri)} is a file; a folder was expected. Choose another.")
    names = storage.list_names(uri)
    if names in ([], ["jobs/"]) or _marked_kind(uri) == kind or _carries(uri, kind, names):
        return
    if kind in ("bundle", "segmentation") and _has_begun(uri, names):
        return
    other = next((other for other in get_args(OutputKind) if _carries(uri, other, names)), None)
    found = f"is the {other} of another run" if other else f"holds what no run of ours wrote ({_shown(names)})"
    raise ConfigError(f"The output {shown_uri(uri)} {found}, which could be overwritten. Choose an empty folder.")


def require_segmentation(uri: str) -> None:
    """Require a finished segmentation, to be reviewed or read.

    Raises:
        ConfigError: If there is none; the message has what is there, and which folder was perhaps meant.
        StorageError: If the store does not answer.
    """
    storage.require(uri)
    names = storage.list_names(uri)
    kind = next((kind for kind in get_args(OutputKind) if _carries(uri, kind, names)), None)
    if kind == "segmentation":
        return
    found = (
        f"is the {kind} of another run"
        if kind
        else f"holds no {segmentations.MANIFEST_FILE}, so no finished segmentation"
    )
    near = _segmentations_near(uri)
    todo = f"Did you mean {' or '.join(map(shown_uri, near))}?" if near else "Name the output of `lesions segment`."
    raise ConfigError(f"{shown_uri(uri)} {found}. {todo}")


def _segmentations_near(uri: str) -> list[str]:
    """Return the first segmentations directly below a URI, or that of which it is a folder."""
    folders = [name.rstrip("/") for name in storage.list_names(uri) if name.endswith("/")][:_MAX_NEAR_LOOKED_AT]
    near = [storage.join(uri, name) for name in folders]
    parent, _, name = uri.rstrip("/").rpartition("/")
    if name in _FOLDERS:
        near.insert(0, parent)
    names = storage.map_in_parallel(storage.list_names, near)
    found = [one for one, own in zip(near, names, strict=True) if _carries(one, "segmentation", own)]
    return found[:_MAX_NEAR]


def list_inputs(uri: str) -> tuple[list[StoredObject], int]:
    """Return the objects below a URI without those that runs wrote there, and the number of the latter.

    Raises:
        ConfigError: If the URI is itself an output, or the masks or previews of one.
        StorageError: If nothing exists there.
    """
    objects = storage.list_objects(uri, hidden=MARK)
    roots = outputs_among(objects)
    kept = [o for o in objects if not any(is_written_by(root, o.path) for root in roots)]
    if is_part_of_output(uri) or ("" in roots and not kept):
        raise ConfigError(f"{shown_uri(uri)} is the output of a run or part of one. Name the scans themselves.")
    return kept, len(objects) - len(kept)


def outputs_among(objects: Iterable[StoredObject]) -> set[str]:
    """Return the paths of folders with outputs, each with a `/`; that of the root is empty.

    Args:
        objects: Objects as listed, with the hidden marks.
    """
    by_root: dict[str, list[StoredObject]] = {}
    for o in objects:
        for root in _possible_roots(o.path):
            by_root.setdefault(root, []).append(o)
    found = storage.map_in_parallel(lambda item: any(map(_is_ours, item[1])), by_root.items())
    return {root for root, is_ours in zip(by_root, found, strict=True) if is_ours}


def is_written_by(root: str, path: str) -> bool:
    """Return whether a path is a file of the output at a root, which ends with a `/` or is empty."""
    if not path.startswith(root):
        return False
    first, _, rest = path[len(root) :].partition("/")
    return first in (_FOLDERS if rest else _FILES)


def is_part_of_output(uri: str) -> bool:
    """Return whether a URI, links followed, is a folder inside an output."""
    parent, _, name = file_systems.resolved(uri).rstrip("/").rpartition("/")
    if name not in _FOLDERS:
        return False
    names = storage.list_names(parent)
    is_finished = any(_carries(parent, kind, names) for kind in get_args(OutputKind))
    return is_finished or _marked_kind(parent) is not None or _has_begun(parent, names)


def _possible_roots(path: str) -> Iterable[str]:
    """Yield the folder that would be an output if the file at a path is what its name suggests."""
    folder, _, name = path.rpartition("/")
    if name == MARK or any(name == manifest for manifest, _ in MANIFESTS.values()):
        yield f"{folder}/" if folder else ""
    for pattern, _ in _WORKING_FILES:
        found = re.fullmatch(rf"(?P<root>(?:.*/)?){pattern.pattern}", path)
        if found:
            yield found["root"]


def _is_ours(o: StoredObject) -> bool:
    """Return whether an object with the name of an output file was written by a run."""
    name = o.path.rpartition("/")[2]
    keys = next((keys for manifest, keys in MANIFESTS.values() if manifest == name), None)
    if name == MARK:
        return "kind" in _read_json(o.uri)
    if name.endswith(".parquet"):
        return storage.read_range(o.uri, 0, 4) == b"PAR1"  # Parquet's magic number
    if keys is None:
        keys = next(keys for pattern, keys in _WORKING_FILES if keys and re.search(rf"{pattern.pattern}$", o.path))
    return o.size_bytes <= _MAX_JSON_BYTES and keys <= _read_json(o.uri).keys()


def _has_begun(uri: str, names: Sequence[str]) -> bool:
    """Return whether a run has written its lock or its ledger there."""
    for folder in {"lease/", "ledger/"} & set(names):
        for o in storage.list_objects(storage.join(uri, folder.rstrip("/"))):
            known = StoredObject(o.uri, f"{folder}{o.path}", o.size_bytes, o.version, o.modified_s)
            if "" in _possible_roots(known.path) and _is_ours(known):
                return True
    return False


def _carries(uri: str, kind: OutputKind, names: Iterable[str]) -> bool:
    name, keys = MANIFESTS[kind]
    return name in names and keys <= _read_json(storage.join(uri, name)).keys()


def _marked_kind(uri: str) -> str | None:
    mark_uri = storage.join(uri, MARK)
    return _read_json(mark_uri).get("kind") if storage.exists(mark_uri) else None


def _read_json(uri: str) -> dict[str, Any]:  # Any: any JSON
    """Return the object in a JSON file; empty for any other or unreadable file."""
    try:
        found = json.loads(storage.read_bytes(uri))
    except (ValueError, RecursionError):
        return {}
    except StorageError as err:
        if err.can_pass:
            raise
        return {}
    return found if isinstance(found, dict) else {}


def _shown(names: Iterable[str]) -> str:
    """Return known names, and the number of all others, which may hold a patient's name."""
    counts = Counter("folder" if name.endswith("/") else f"{posixpath.splitext(name)[1]} file" for name in names)
    known = sorted(_KNOWN_NAMES & set(names))
    for name in known:
        counts["folder" if name.endswith("/") else f"{posixpath.splitext(name)[1]} file"] -= 1
    others = [counted(n, what.strip()) for what, n in sorted(counts.items()) if n]
    return ", ".join([*known, *others])
