"""What the io tests share: a fresh prefix on every kind of store."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.io import storage

Place = Callable[[Path], str]

ROOTS: dict[str, Place] = {
    "path": str,
    "file": Path.as_uri,
    "memory": lambda folder: f"memory://{folder.name}-{uuid.uuid4().hex}",
    # a bucket is one more line, for instance "gs": lambda folder: f"gs://bucket/{uuid.uuid4().hex}",
}
_OFFLINE = {"path", "file", "memory"}


@pytest.fixture(
    params=[
        pytest.param(place, id=name, marks=() if name in _OFFLINE else pytest.mark.cloud)
        for name, place in ROOTS.items()
    ]
)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URI of a prefix below which nothing exists; what a test leaves there is removed."""
    uri = request.param(tmp_path / "root")
    yield uri
    storage.remove_tree(uri)
