"""Object stores on loopback, really over HTTP: GCS (gcp-storage-emulator made fit), S3 (moto), and a proxy that breaks.

Run as `python -m tests.emulators gs|s3`, or `proxy PORT FRACTION` to break that fraction of the requests to a port:
prints a port and serves until its standard input ends. `gs FOLDER` has the files of a folder from the beginning.
"""

import http.client
import json
import logging
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlparse

import boto3
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage
from moto.server import ThreadedMotoServer

BUCKET = "lesions"
SCHEMES = ("gs", "s3")
FAULTS = ("503", "hang", "reset", "short", "lie")
HANG_S = 2.0
FORBIDDEN = "forbidden"
"""Objects in folders of this name are listed, and may not be read: GCS only."""

UNAVAILABLE = json.dumps({"error": {"code": 503, "message": "backendError"}}).encode()
AT_IMPORT = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
"""Before gcsfs is imported: it would ask over gRPC for the bucket's type, for a minute."""

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def serving(scheme: str, *folder: str) -> Iterator[int]:
    """Run a store in a process of its own, a GCS one with the files of a folder if one is named; yield its port."""
    with _process(scheme, *folder) as port:
        yield port


@contextmanager
def breaking(port: int, fraction: float) -> Iterator[int]:
    """Run a proxy to a store that breaks a fraction of its requests; yield its port."""
    with _process("proxy", str(port), str(fraction)) as own:
        yield own


def environment(scheme: str, port: int) -> dict[str, str]:
    """Return what a client needs in its environment to find a store on a port."""
    address = f"http://127.0.0.1:{port}"
    return {
        "gs": {"STORAGE_EMULATOR_HOST": address, **AT_IMPORT},
        "s3": {"AWS_ENDPOINT_URL_S3": address, **CREDENTIALS},
    }[scheme]


@contextmanager
def _process(*arguments: str) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.emulators", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(timeout=30)


class _PreconditionError(Exception):
    """The object exists, and must not."""


class _Store(Storage):
    """The emulator's store, one request at a time, and with the generation precondition that it lacks."""

    turn = threading.RLock()
    must_be_new = threading.local()
    names: ClassVar[set[str]] = set()

    def _write_config_to_file(self) -> None:
        """Do nothing: it would write down every object there is with each put, for nobody."""

    def create_file(self, bucket_name: str, file_name: str, *args: Any, **kwargs: Any) -> Any:
        """Write an object, or refuse where `ifGenerationMatch=0` was asked and one is there."""
        exists = f"{bucket_name}/{file_name}" in self.names
        if self.must_be_new.asked and exists:
            raise _PreconditionError
        self.names.add(f"{bucket_name}/{file_name}")
        return super().create_file(bucket_name, file_name, *args, **kwargs)

    def delete_file(self, bucket_name: str, file_name: str) -> Any:
        """Delete an object."""
        self.names.discard(f"{bucket_name}/{file_name}")
        return super().delete_file(bucket_name, file_name)


class _GcsHandler(RequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one packet: delayed acknowledgements would cost 40 ms each
    disable_nagle_algorithm = True

    def _answer(self, answer: Callable[[], None]) -> None:
        asked = parse_qs(urlparse(self.path).query).get("ifGenerationMatch")
        with _Store.turn:
            _Store.must_be_new.asked = asked == ["0"]
            try:
                answer()
            except _PreconditionError:
                _send(self, 412, json.dumps({"error": {"code": 412, "message": "conditionNotMet"}}).encode())

    def do_GET(self) -> None:
        if f"/{FORBIDDEN}/" in unquote(urlparse(self.path).path):
            _send(self, 403, json.dumps({"error": {"code": 403, "message": "Forbidden"}}).encode())
        else:
            self._answer(super().do_GET)

    def do_POST(self) -> None:
        self._answer(super().do_POST)

    def do_PUT(self) -> None:
        self._answer(super().do_PUT)

    def do_DELETE(self) -> None:
        self._answer(super().do_DELETE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _BreakingProxy(BaseHTTPRequestHandler):
    """Hands requests on; some it refuses, leaves unanswered, resets, or answers with half a body."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, port: int, fraction: float, rng: random.Random, *args: Any) -> None:
        self._port, self._fraction, self._rng = port, fraction, rng
        super().__init__(*args)

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self._rng.choice(FAULTS) if self._rng.random() < self._fraction else None
        is_done_first = self._rng.random() < 0.5  # the answer is lost, the deed is not
        if fault in ("503", "hang", "reset") and not is_done_first:
            return self._break(fault)
        status, headers, answer = self._ask(body)
        if fault in ("503", "hang", "reset"):
            return self._break(fault)
        cut = len(answer) // 2 if fault in ("short", "lie") else len(answer)
        told = cut if fault == "lie" else len(answer)
        if self.command == "HEAD":
            cut, told = 0, int(dict(headers).get("Content-Length", 0))
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(told))
        self.end_headers()
        self.wfile.write(answer[:cut])
        self.close_connection = fault is not None
        return None

    def handle_expect_100(self) -> bool:
        """Invite the body at once; botocore waits for it."""
        answer = super().handle_expect_100()
        self.wfile.flush()
        return answer

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self._port)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        answer = response.read()
        upstream.close()
        return response.status, response.getheaders(), answer

    def _break(self, fault: str) -> None:
        self.close_connection = True
        if fault == "503":
            _send(self, 503, UNAVAILABLE)
            return
        if fault == "hang":
            time.sleep(HANG_S)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _send(handler: BaseHTTPRequestHandler, status: int, answer: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(answer)))
    handler.end_headers()
    handler.wfile.write(answer)


def _start_gs(folder: str = "") -> int:
    store = _Store(use_memory_fs=True)
    buckets.create_bucket(BUCKET, store)
    store.must_be_new.asked = False
    for path in sorted(Path(folder).rglob("*")) if folder else []:
        if path.is_file():
            name, content = path.relative_to(folder).as_posix(), path.read_bytes()
            resource = objects._make_object_resource("", BUCKET, name, None, str(len(content)))
            store.create_file(BUCKET, name, content, objects._checksums(content, resource))
    return _start(partial(_GcsHandler, store))


def _start_s3() -> int:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket=BUCKET)
    return port


def _start(handler: Callable[..., BaseHTTPRequestHandler]) -> int:
    HTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def _start_proxy(port: str, fraction: str) -> int:
    return _start(partial(_BreakingProxy, int(port), float(fraction), random.Random(0)))


def main(kind: str, *arguments: str) -> None:
    """Serve until standard input ends."""
    logging.disable(logging.ERROR)  # a line a request
    own = {"gs": _start_gs, "s3": _start_s3, "proxy": _start_proxy}[kind](*arguments)
    sys.stdout.write(f"{own}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
