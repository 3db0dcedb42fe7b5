"""A Hugging Face hub on this machine that serves data sets: names, revisions and files, as far as its client asks."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple
from urllib.parse import unquote

from .program import Result


@dataclass
class DataHub:
    """What is served. repositories: {name: {branch, tag or commit: folder}}. gated: names that ask for a token;
    forbidden: names of files that are not given.

    breaks: {name of a file: bytes after which the connection breaks, once}. asked: each request, "GET /path".
    """

    repositories: Dict[str, Dict[str, Path]] = field(default_factory=dict)
    gated: List[str] = field(default_factory=list)
    forbidden: List[str] = field(default_factory=list)
    breaks: Dict[str, int] = field(default_factory=dict)
    asked: List[str] = field(default_factory=list)
    tokens: List[str] = field(default_factory=list)
    environment: Dict[str, str] = field(default_factory=dict)

    def commit(self, name: str, folder: Path, branch: str = "main") -> str:
        """Serve what lies in a folder as a new commit of a branch; its name."""
        content = hashlib.sha1()
        for path in files_in(folder):
            content.update(path.encode() + (folder / path).read_bytes())
        commit = content.hexdigest()
        self.repositories.setdefault(name, {}).update({branch: folder, commit: folder})
        return commit

    def commit_of(self, name: str, revision: str) -> Optional[str]:
        known = self.repositories.get(name, {})
        folder = known.get(revision)
        return next((key for key in known if len(key) == 40 and known[key] == folder), None) if folder else None

    def answer(self, path: str, token: str) -> Tuple[int, Dict[str, str], bytes]:
        """(status, headers, body)."""
        parts = [unquote(part) for part in path.split("?")[0].strip("/").split("/")]
        name, revision, file = _meant(parts)
        if not name:
            return 200, {}, b""
        if name not in self.repositories:
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if name in self.gated and token != "Bearer hf_open_sesame":
            return 401, {"X-Error-Code": "GatedRepo"}, b"{}"
        commit = self.commit_of(name, revision)
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        folder = self.repositories[name][commit]
        if file is None:
            listed = [{"rfilename": one, "size": (folder / one).stat().st_size} for one in files_in(folder)]
            told = {"id": name, "sha": commit, "siblings": listed, "gated": name in self.gated}
            return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()
        if file.rpartition("/")[2] in self.forbidden:
            return 403, {}, b"{}"
        if not (folder / file).is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b"{}"
        body = (folder / file).read_bytes()
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}, body


def files_in(folder: Path) -> List[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _meant(parts: List[str]) -> Tuple[str, str, Optional[str]]:
    """(name, revision, file) that a path of the hub means; no name where it means no data set."""
    if parts[:2] == ["api", "datasets"]:
        at = parts.index("revision") if "revision" in parts else len(parts)
        return "/".join(parts[2:at]), "/".join(parts[at + 1 :]) or "main", None
    if parts[:1] == ["datasets"] and "resolve" in parts:
        at = parts.index("resolve")
        return "/".join(parts[1:at]), parts[at + 1], "/".join(parts[at + 2 :])
    return "", "", None


# Commands in the language of JSON lines: one process for many, as it takes seconds until the libraries are there.
_CHILD = """
import json, os, sys
from tests.helpers.program import run_here
os.environ.update(json.loads(sys.argv[1]))
told, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    asked = json.loads(line)
    os.environ.update(asked["variables"])
    done = run_here(*asked["words"])
    for name in asked["variables"]:
        del os.environ[name]
    print(json.dumps(done.__dict__), file=told, flush=True)
"""


@contextmanager
def asrctl_with(environment: Dict[str, str], folder: Path) -> Iterator[Callable[..., Result]]:
    """`asrctl(*words, NAME=value)` in one process with this environment, in a folder."""
    words = [sys.executable, "-c", _CHILD, json.dumps(environment)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=str(folder), encoding="utf-8", bufsize=1
    ) as child:

        def run(*typed: Any, **variables: str) -> Result:
            print(json.dumps({"words": [str(word) for word in typed], "variables": variables}), file=child.stdin)
            return Result(**json.loads(child.stdout.readline()))  # type: ignore[union-attr]

        yield run
        child.stdin.close()  # type: ignore[union-attr]


@contextmanager
def serving(home: Path) -> Iterator[DataHub]:
    """A hub without data sets; `home` takes its client's cache. `environment` is what a process needs to use it."""
    served = DataHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.send("HEAD")

        def do_GET(self) -> None:
            self.send("GET")

        def send(self, method: str) -> None:
            served.asked.append(f"{method} {self.path}")
            token = self.headers.get("Authorization", "")
            served.tokens.append(token)
            status, headers, body = served.answer(self.path, token)
            start, end = _range(self.headers.get("Range"), len(body))
            if status == 200 and (start, end) != (0, len(body)):
                status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{len(body)}"
                body = body[start:end]
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body)), "Accept-Ranges": "bytes"}.items():
                self.send_header(key, value)
            self.end_headers()
            if method == "GET":
                broken = served.breaks.pop(self.path.rpartition("/")[2], None)
                self.wfile.write(body[:broken])
                self.close_connection = self.close_connection or broken is not None

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.environment = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _range(asked: Optional[str], size: int) -> Tuple[int, int]:
    if not asked:
        return 0, size
    start, _, end = asked.partition("=")[2].partition("-")
    if not start:
        return max(0, size - int(end)), size
    return int(start), min(size, int(end) + 1) if end else size
