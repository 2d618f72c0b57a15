"""Labelled sources: pairs of image and mask by name, never by order, and the patient of each.

A source is a prefix with `frames/` and `masks/`, with `images/` and `masks/`, or with an `index.csv`.
Lung masks are optional: in `lungs/`, or in the column `lung` of the index.
"""

from collections.abc import Sequence

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError
from tasks.core.naming_rules import custom_naming
from tasks.core.plural import counted
from tasks.io import storage
from tasks.io.discovery import Discovery
from tasks.io.formats import KINDS
from tasks.io.source_folders import IMAGE_FOLDERS, MASK_FOLDER, first_folders, image_folder, pair_folders
from tasks.io.source_index import INDEX_COLUMNS, INDEX_FILE, read_index
from tasks.io.stored_objects import StoredObject


def discover_source(uri: str, *, patient_id_pattern: str | None = None) -> Discovery:
    """Pair and identify every labelled slice below a URI, reading no pixels.

    Raises:
        ConfigError: If the layout is none of the three, or nothing could be paired.
        StorageError: If the source does not exist or cannot be listed.
    """
    objects = storage.list_objects(uri)
    naming = custom_naming(patient_id_pattern) if patient_id_pattern else None
    discovery = Discovery()
    if any(o.path == INDEX_FILE for o in objects):
        read_index(objects, discovery)
    else:
        _require_folders(uri, objects)
        pair_folders(objects, discovery, naming)
    discovery.reject_duplicates()
    if not discovery.pairs:
        raise ConfigError(
            f"Found {len(objects)} files below {shown_uri(uri)} but no labelled slice. "
            f"Images and masks must have the same name; images of types {', '.join(KINDS)} are read."
        )
    discovery.pairs.sort(key=lambda pair: (pair.case_id, pair.slice_index))
    discovery.failures.sort(key=lambda failure: failure.uri)
    return discovery


def _require_folders(uri: str, objects: Sequence[StoredObject]) -> None:
    folders = first_folders(objects)
    if image_folder(folders) is None or MASK_FOLDER not in folders:
        expected = sorted(folders & {*IMAGE_FOLDERS, MASK_FOLDER})
        raise ConfigError(  # a folder's name may be a patient's
            f"{shown_uri(uri)} holds {counted(len(folders), 'folder')}, of the expected ones "
            f"{', '.join(expected) or 'none'}; frames/ and masks/, images/ and masks/, or an {INDEX_FILE} with the "
            f"columns {', '.join(INDEX_COLUMNS)} was expected."
        )
