"""A Hugging Face hub on this machine that serves one model folder."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, Iterator

COMMIT = "0123456789012345678901234567890123456789"


def _entry(path: Path) -> Dict[str, Any]:
    return {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": COMMIT}


@contextmanager
def serving(folder: Path, name: str, home: Path) -> Iterator[Dict[str, str]]:
    """The environment in which `name` is a model on the hub, with the files of `folder`; `home` takes the cache."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            place = self.path.split("?")[0]
            body, status = b"", 200
            file = folder / place.rsplit("/", 1)[-1]
            if place.startswith(f"/api/models/{name}/tree/"):
                body = json.dumps([_entry(path) for path in sorted(folder.iterdir())]).encode()
            elif place.startswith(f"/api/models/{name}"):
                files = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
                body = json.dumps({"id": name, "sha": COMMIT, "siblings": files}).encode()
            elif place.startswith(f"/{name}/resolve/") and file.is_file():
                body = file.read_bytes()
            else:
                status = 404
            self.send_response(status)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            if status == 404:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
