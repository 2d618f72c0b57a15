"""What tests put on a store, and what they see there."""

import fsspec

from tasks.io import storage
from tasks.io.sources import Discovery


def everything_below(root: str) -> list[str]:
    """Return the names of all objects below a prefix, hidden ones too."""
    fs, path = fsspec.core.url_to_fs(root)
    return sorted(str(name).removeprefix(path).lstrip("/") for name in fs.find(path))


def put(root: str, *paths: str) -> None:
    """Publish files; each holds its own path, so that no two are alike."""
    for path in paths:
        storage.publish(f"{root}/{path}", path.encode())


def pair_names(discovery: Discovery) -> list[tuple[str, str]]:
    """Return the last two parts of image and mask of each pair."""
    return [("/".join(p.image_uri.split("/")[-2:]), "/".join(p.mask_uri.split("/")[-2:])) for p in discovery.pairs]


def failed(discovery: Discovery) -> list[tuple[str, str]]:
    """Return the file name and the code of each failure."""
    return [(failure.uri.rsplit("/", 1)[1], failure.error_code) for failure in discovery.failures]
