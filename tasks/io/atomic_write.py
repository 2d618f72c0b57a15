"""Atomic writes on a local file system: under a temporary name, synced, then renamed."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

PART_SUFFIX = ".part"


@contextlib.contextmanager
def part_file(path: str, content: bytes) -> Iterator[Path]:
    """Hold a synced temporary file beside `path`; it is hidden from listings and removed afterwards."""
    folder = Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as err:
        raise NotADirectoryError(f"{folder} is a file") from err
    part = folder / f".{uuid.uuid4().hex}{PART_SUFFIX}"
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def remove_parts(folder: str) -> int:
    """Remove temporary files of killed writers below a folder and return their number."""
    parts = [part for part in Path(folder).rglob(f".*{PART_SUFFIX}") if part.is_file()]
    for part in parts:
        part.unlink(missing_ok=True)
    return len(parts)
