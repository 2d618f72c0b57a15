"""What URIs mean, and what is read from the versions and times stores tell."""

import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import fsspec
import pytest

from tasks.core.errors import ConfigError, StorageError
from tasks.io import file_systems, storage, stored_objects
from tasks.io.stored_objects import StoredObject, fingerprint

# ---- addresses -----------------------------------------------------------------------------------------------------


def test_join_puts_one_slash_between_parts() -> None:
    """A trailing slash of the prefix is not doubled, and no part is dropped."""
    assert storage.join("gs://bucket/a", "b", "c.png") == "gs://bucket/a/b/c.png"
    assert storage.join("gs://bucket/a/", "b") == "gs://bucket/a/b"
    assert storage.join("/", "a") == "/a"


def test_join_keeps_the_scheme_of_a_bare_root() -> None:
    """Joining below the root of a store stays in that store."""
    assert file_systems.absolute(storage.join("memory://", "a")) == file_systems.absolute("memory://a")


@pytest.mark.parametrize(
    ("uri", "is_relative"),
    [
        ("data", True),
        ("./data", True),
        ("../data", True),
        (".", True),
        ("/data", False),
        ("memory://data", False),
        ("file:///data", False),
        pytest.param(
            "file://data",
            True,
        ),
    ],
)
def test_relative_paths_are_told_from_absolute_ones(
    uri: str, is_relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URI is relative exactly when what it means changes with the working folder."""
    meanings = set()
    for folder in (tmp_path / "here", tmp_path / "over" / "there"):
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
        meanings.add(file_systems.absolute(uri))
    assert (len(meanings) > 1) is is_relative
    assert file_systems.is_relative(uri) is is_relative


def test_a_bucket_is_never_relative() -> None:
    """A URI of an object store does not depend on the working folder; this is said without asking the store."""
    assert not file_systems.is_relative("gs://bucket/data")
    assert not file_systems.is_relative("s3://bucket/data")


def test_absolute_uris_have_a_scheme_and_no_detours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local path becomes a file URI without dots; a URI of a store keeps its scheme; twice is once."""
    monkeypatch.chdir(tmp_path)
    assert file_systems.absolute("a/../b/./c") == f"file://{tmp_path}/b/c"
    assert file_systems.absolute("/data/") == "file:///data"
    assert file_systems.absolute("memory:///a/b") == "memory:///a/b"
    assert file_systems.absolute(file_systems.absolute("memory://a/b")) == file_systems.absolute("memory://a/b")


@pytest.mark.parametrize("uri", ["nosuchstore://bucket/a", "abfs://container/a"])
def test_a_store_that_cannot_be_opened_is_a_config_error(uri: str) -> None:
    """An unknown scheme, or one whose package is not installed, is refused with the URI in the sentence."""
    try:
        fsspec.get_filesystem_class(uri.split("://", maxsplit=1)[0])
    except (ValueError, ImportError):
        with pytest.raises(ConfigError, match=uri):
            file_systems.absolute(uri)
    else:
        pytest.skip(f"the package for {uri} is installed here")


@pytest.mark.parametrize("uri", ["ftp://127.0.0.1:1/a", "reference://a", "github://a:b@c/x"])
def test_a_store_that_does_not_open_is_one_sentence(uri: str) -> None:
    """Stores that connect at once, or need more than an address, raise errors of any kind."""
    with pytest.raises((ConfigError, StorageError), match=r"Cannot open|Could not"):
        storage.list_objects(uri)


# ---- what is said of them ------------------------------------------------------------------------------------------


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(HTTPStatus.GONE)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[int]:
    """A web server on loopback that hands nothing over; its port."""
    with HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_an_error_of_a_store_holds_no_credentials(refusing: int) -> None:
    """Neither our sentence nor what the client says in it repeats the password or the query of an address."""
    with pytest.raises(StorageError) as caught:
        storage.read_bytes(f"http://user:hunter2@127.0.0.1:{refusing}/a.png?token=hunter2")
    assert f"http://127.0.0.1:{refusing}/a.png" in str(caught.value)
    assert "ClientResponseError" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_address_that_cannot_be_opened_is_said_without_credentials() -> None:
    """An unknown scheme is refused with the place, and not with what would have opened it."""
    with pytest.raises(ConfigError) as caught:
        file_systems.absolute("nosuchstore://user:hunter2@host/a?token=hunter2")
    assert "nosuchstore://host/a" in str(caught.value)
    assert "hunter2" not in str(caught.value)


# ---- versions and times as stores tell them ------------------------------------------------------------------------

_NOON = datetime(2024, 5, 6, 12, 0, tzinfo=UTC)
_NOON_S = 1714996800.0  # date -d 2024-05-06T12:00:00Z +%s


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"etag": "CJ+x", "generation": "17", "size": 3}, "CJ+x"),  # gcsfs
        ({"generation": "17", "size": 3}, "17"),
        ({"ETag": '"9e107d9d"', "size": 3}, "9e107d9d"),  # s3fs quotes
        ({"ETag": "", "size": 3, "created": 1.5}, "3:1.5"),
        ({"size": 3, "mtime": 2.5}, "3:2.5"),
    ],
)
def test_version_prefers_what_the_store_declares(info: dict[str, object], version: str) -> None:
    """The etag, else the generation, else size and time; without the quotes some stores put around it."""
    assert stored_objects._version(info) == version


@pytest.mark.parametrize(
    ("info", "modified_s"),
    [
        ({"mtime": _NOON}, _NOON_S),  # gcsfs
        ({"LastModified": _NOON}, _NOON_S),  # s3fs
        ({"updated": "2024-05-06T12:00:00.000Z"}, _NOON_S),  # as GCS words it
        ({"created": _NOON_S}, _NOON_S),  # memory
        ({"mtime": _NOON_S, "created": 1.0}, _NOON_S),  # local: the content's time, not the name's
        ({"LastModified": ""}, None),
        ({}, None),
    ],
)
def test_time_of_change_is_read_in_every_wording(info: dict[str, object], modified_s: float | None) -> None:
    """Times come as datetime, text or seconds, and are seconds since the epoch; unknown is None."""
    assert stored_objects._modified_s(info) == modified_s


def test_fingerprint_is_the_digest_of_sorted_uris_and_versions() -> None:
    """The fingerprint is the sha256 over sorted lines of URI, (empty) member and version, in whatever order listed."""
    a = StoredObject("gs://b/a.png", "a.png", 1, "v1", None)
    b = StoredObject("gs://b/b.png", "b.png", 2, "v2", 7.0)
    expected = hashlib.sha256(b"gs://b/a.png\t\tv1\ngs://b/b.png\t\tv2").hexdigest()
    assert fingerprint([a, b]) == expected
    assert fingerprint([b, a]) == expected
