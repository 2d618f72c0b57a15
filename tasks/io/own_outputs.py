"""Whose an output folder is: nothing is written where something lies that no run of ours wrote."""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, Literal, get_args

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError, StorageError
from tasks.io import storage
from tasks.io.stored_objects import StoredObject

OutputKind = Literal["dataset", "bundle", "evaluation", "segmentation"]

MANIFESTS: Final[dict[OutputKind, tuple[str, frozenset[str]]]] = {
    "dataset": ("dataset.json", frozenset({"fingerprint", "assignments"})),
    "bundle": ("model.json", frozenset({"architecture", "files"})),
    "evaluation": ("metrics.json", frozenset({"per_patient", "model_digest"})),
    "segmentation": ("manifest.json", frozenset({"run_id", "params_digest"})),
}
"""By kind: the file that is written last, and keys that tell it from somebody else's of the same name."""

WORKING_FOLDERS: Final[dict[OutputKind, frozenset[str]]] = {
    "dataset": frozenset(),
    "bundle": frozenset({"lease/"}),
    "evaluation": frozenset(),
    "segmentation": frozenset({"lease/", "ledger/"}),
}
"""What a run that has not ended holds, in outputs from before there was a mark."""

MARK: Final = ".lesions.json"
"""Written first, so that the output of a run that died before its manifest is known for ours; hidden from listings."""

_KNOWN_NAMES: Final = {"frames/", "images/", "masks/", "lungs/", "previews/", "slices/", "index.csv"}
_WORKING_PATH: Final = re.compile(
    r"(?P<root>(?:.*/)?)(?:lease/\d{8}\.json|ledger/\d{8}T\d+Z-[^/]+(?:/.+\.json|\.parquet))"
)


def claim(uri: str, kind: OutputKind) -> None:
    """Make an empty output ours; one that is ours already stays as it is.

    Raises:
        ConfigError: If something lies there that no run of this kind wrote.
        StorageError: If the store refuses or does not answer.
    """
    require_ours(uri, kind)
    if _marked_kind(uri) != kind:
        storage.publish(storage.join(uri, MARK), json.dumps({"kind": kind}).encode())


def require_ours(uri: str, kind: OutputKind) -> None:
    """Refuse to write where something lies that no run of this kind wrote.

    Raises:
        ConfigError: Saying what was found.
        StorageError: If the store does not answer.
    """
    names = storage.list_names(uri)
    if not names or _marked_kind(uri) == kind or _carries(uri, kind, names):
        return
    if WORKING_FOLDERS[kind] & set(names):
        return
    other = next((other for other in get_args(OutputKind) if _carries(uri, other, names)), None)
    found = f"is the {other} of another run" if other else f"holds what no run of ours wrote ({_shown(names)})"
    raise ConfigError(
        f"The output {shown_uri(uri)} {found}; it could be overwritten. Choose an empty folder, or remove it first."
    )


def outputs_among(objects: Iterable[StoredObject]) -> set[str]:
    """Return the paths of the folders, each with its `/`, that outputs of ours lie in; the listed root is empty."""
    by_name = {name: kind for kind, (name, _) in MANIFESTS.items()}
    roots: set[str] = set()
    for o in objects:
        folder, _, name = o.path.rpartition("/")
        working = _WORKING_PATH.fullmatch(o.path)
        if working:
            roots.add(working["root"])
        elif name in by_name and _is_manifest(o.uri, by_name[name]):
            roots.add(f"{folder}/" if folder else "")
    return roots


def is_part_of_output(uri: str) -> bool:
    """Say whether a URI is the masks or previews of a segmentation."""
    parent, _, name = uri.rstrip("/").rpartition("/")
    return name in {"masks", "previews"} and _carries(parent, "segmentation", storage.list_names(parent))


def _carries(uri: str, kind: OutputKind, names: Iterable[str]) -> bool:
    name, _ = MANIFESTS[kind]
    return name in names and _is_manifest(storage.join(uri, name), kind)


def _is_manifest(uri: str, kind: OutputKind) -> bool:
    return MANIFESTS[kind][1] <= _read_json(uri).keys()


def _marked_kind(uri: str) -> str | None:
    mark_uri = storage.join(uri, MARK)
    return _read_json(mark_uri).get("kind") if storage.exists(mark_uri) else None


def _read_json(uri: str) -> dict[str, Any]:  # Any: any JSON
    """Return the object of a JSON file; of anything else an empty one."""
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
    """Return names that are known, and the number of the others: those may name a patient."""
    counts: Counter[str] = Counter()
    for name in names:
        suffix = posixpath.splitext(name)[1].lower()
        counts[name if name in _KNOWN_NAMES else "folders" if name.endswith("/") else f"files {suffix}".strip()] += 1
    return ", ".join(what if what in _KNOWN_NAMES else f"{n} {what}" for what, n in sorted(counts.items()))
