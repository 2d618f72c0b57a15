"""What is said of a configured Prefect server that does not do, before any flow asks it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.core.errors import ServerError
from tasks.runtime.prefect_server import require_server


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[str]:
    """Serve one answer to everything; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, b"", "refuses with HTTP status 401. Set PREFECT_API_AUTH_STRING"),
        (503, b"", r"does not respond \(HTTP status 503\). Start it"),
        (404, b"", "refuses with HTTP status 404. Set PREFECT_API_URL to the address of Prefect's API"),
        (200, b"<html>", "is no Prefect API"),
        (200, b'"2.20.1"', "does not fit this client"),
    ],
)
def test_a_server_that_answers_otherwise_is_one_sentence(status: int, body: bytes, sentence: str) -> None:
    """A login it wants, another service, another version: each with what to do."""
    with _answering(status, body) as url, temporary_settings({PREFECT_API_URL: url}):
        with pytest.raises(ServerError, match=sentence) as raised:
            require_server()
        assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:9/api", "does not respond"),
        ("nonsense", "PREFECT_API_URL is 'nonsense'"),
        ("http://host:port/api", "PREFECT_API_URL is 'http://…'"),
    ],
)
def test_an_address_without_a_server_is_one_sentence(url: str, sentence: str) -> None:
    """Nobody there, or no address at all."""
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(ServerError, match=sentence):
        require_server()


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server")
def test_a_server_that_runs_will_do() -> None:
    """Nothing is raised."""
    require_server()
