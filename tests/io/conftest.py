"""What the io tests share: a fresh prefix on every kind of store."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.io import storage
from tests.emulators import BUCKET, SCHEMES

Place = Callable[[Path], str]

ROOTS: dict[str, Place] = {
    "path": str,
    "file": Path.as_uri,
    "memory": lambda folder: f"memory://{folder.name}-{uuid.uuid4().hex}",
    "gs": lambda _: f"gs://{BUCKET}/{uuid.uuid4().hex}",
    "s3": lambda _: f"s3://{BUCKET}/{uuid.uuid4().hex}",
}


@pytest.fixture(params=ROOTS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URI of a prefix below which nothing exists; what a test leaves there is removed."""
    if request.param in SCHEMES:
        request.getfixturevalue("object_stores")
    uri = ROOTS[request.param](tmp_path / "root")
    yield uri
    storage.remove_tree(uri)
