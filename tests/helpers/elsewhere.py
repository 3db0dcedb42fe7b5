"""Other machines on this one: buckets of S3, a web server, and a connection that breaks."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest


def _serving(handler: Any) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


# -- a web server -----------------------------------------------------------------------------------------------------


@dataclass
class Web:
    """files: {path: content}. ranges: whether parts are given; asked: each request, with its range. breaks: {path:
    bytes after which the connection breaks}, once, or each time where it is in `always`. denied: paths."""

    files: Dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    asked: List[str] = field(default_factory=list)
    breaks: Dict[str, int] = field(default_factory=dict)
    always: List[str] = field(default_factory=list)
    denied: List[str] = field(default_factory=list)
    url: str = ""

    def put(self, folder: Path, inside: str = "") -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                self.files[f"{inside}{path.relative_to(folder).as_posix()}"] = path.read_bytes()


@contextmanager
def web() -> Iterator[Web]:
    served = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, wanted = self.path.partition("?")[0].lstrip("/"), self.headers.get("Range", "")
            served.asked.append(f"{path} {wanted}".strip())
            body = served.files.get(path)
            if path in served.denied or body is None:
                self._answer(403 if path in served.denied else 404, b"", {})
                return
            tag = {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}
            if wanted and served.ranges:
                first, _, last = wanted[len("bytes=") :].partition("-")
                stop = min(len(body), int(last) + 1) if last else len(body)
                told = {"Content-Range": f"bytes {first}-{stop - 1}/{len(body)}", **tag}
                self._answer(206, body[int(first) : stop], told, path)
            else:
                self._answer(200, body, tag, path)

        def _answer(self, status: int, body: bytes, headers: Dict[str, str], path: str = "") -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            limit = served.breaks.get(path) if path in served.always else None
            if limit is None and len(body) > served.breaks.get(path, len(body)):
                limit = served.breaks.pop(path)
            self.close_connection = True
            with suppress(ConnectionError):
                self.wfile.write(body[:limit])

        def log_message(self, *_: Any) -> None:
            return

    server = _serving(Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


# -- buckets ----------------------------------------------------------------------------------------------------------


@dataclass
class Buckets:
    """port: of the server. environment: what a process needs to use it. proxy: between both, where it breaks. folder:
    what tests keep beside it."""

    port: int
    client: Any
    environment: Dict[str, str]
    proxy: "Proxy"
    folder: Path = Path()

    def put(self, bucket: str, folder: Path, inside: str = "") -> None:
        """Everything in a folder, as objects of a bucket, which is made."""
        with suppress(self.client.exceptions.BucketAlreadyOwnedByYou):
            self.client.create_bucket(Bucket=bucket)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{inside}{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())


@dataclass
class Proxy:
    """Hands on what comes from the server; breaks: bytes after which an answer of more than that is cut off, once or,
    with always, each time. sent: bytes of all answers. pause: is waited for before an answer goes on."""

    port: int = 0
    breaks: Optional[int] = None
    always: bool = False
    sent: int = 0
    requests: List[str] = field(default_factory=list)

    def handle(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, suppress(OSError):
            threading.Thread(target=self._up, args=(near, far), daemon=True).start()
            count = 0
            while True:
                data = far.recv(1 << 16)
                if not data:
                    return
                if self.breaks is not None and count + len(data) > self.breaks:
                    near.sendall(data[: max(0, self.breaks - count)])
                    self.breaks = self.breaks if self.always else None
                    near.shutdown(socket.SHUT_RDWR)
                    return
                near.sendall(data)
                count, self.sent = count + len(data), self.sent + len(data)

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while True:
                data = near.recv(1 << 16)
                if not data:
                    return
                self.requests.append(data.split(b"\r\n", 1)[0].decode("latin-1"))
                far.sendall(data)


@contextmanager
def buckets() -> Iterator[Buckets]:
    """A server of S3 with no buckets, reached through a proxy. Skips where the packages of the extra `dev` are not."""
    pytest.importorskip("s3fs")
    boto3 = pytest.importorskip("boto3")
    moto_server = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    proxy = Proxy()
    listening = socket.create_server(("127.0.0.1", 0))
    proxy.port = listening.getsockname()[1]

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(("127.0.0.1", port))
                threading.Thread(target=proxy.handle, args=(near, far), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    keys = {"aws_access_key_id": "AKIDTESTING", "aws_secret_access_key": "not-so-secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys)
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "AWS_ACCESS_KEY_ID": keys["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": keys["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": keys["region_name"],
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }
    try:
        yield Buckets(port, client, environment, proxy)
    finally:
        listening.close()
        client.close()
        server.stop()
