"""Downloads from a server that misbehaves on purpose."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from asrctl.data.reading.download import Patience, RemoteFile, fetch
from asrctl.errors import BadData, Locked
from asrctl.events import Event, ignore

pytestmark = pytest.mark.fault("a server that misbehaves")

CONTENT = bytes(range(256)) * 4000  # 1 MB
# It waits for an answer as long as a busy machine may take; of its servers none stalls.
QUICK = Patience(timeout_s=60, tries=3, pause_s=0.001, progress=1)


class Server:
    """Answers by `behavior(handler, number of the request, first byte wanted)`; `ranges` are those asked for."""

    def __init__(self, behavior: Callable[[Any, int, int], None]) -> None:
        self.ranges: List[str] = []
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range", "")
                outer.ranges.append(wanted)
                first = int(wanted[len("bytes=") : -1]) if wanted else 0
                with contextlib.suppress(ConnectionError):
                    behavior(self, len(outer.ranges), first)
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def file(self, **changes: Any) -> RemoteFile:
        right = {"size": len(CONTENT), "md5": hashlib.md5(CONTENT).hexdigest()}
        return RemoteFile(f"{self.url}/a.tar.gz", "a.tar.gz", **{**right, **changes})


def answer(handler: Any, status: int, headers: Dict[str, str], body: bytes = b"") -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def honest(handler: Any, number: int, first: int) -> None:
    if first:
        headers = {"Content-Range": f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        answer(handler, 206, {**headers, "Content-Length": str(len(CONTENT) - first)}, CONTENT[first:])
    else:
        answer(handler, 200, {"Content-Length": str(len(CONTENT))}, CONTENT)


def breaking(every: int) -> Callable[[Any, int, int], None]:
    """Ends each connection after `every` bytes, whatever it promised."""

    def behave(handler: Any, number: int, first: int) -> None:
        status, headers = (
            (206, {"Content-Range": f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"}) if first else (200, {})
        )
        answer(
            handler, status, {**headers, "Content-Length": str(len(CONTENT) - first)}, CONTENT[first : first + every]
        )

    return behave


def names(folder: Path) -> List[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_is_fetched_and_told(tmp_path: Path) -> None:
    seen: List[Event] = []
    with Server(honest) as server:
        path = fetch(server.file(), tmp_path / "deep" / "er", seen.append)
        assert path.read_bytes() == CONTENT
        assert fetch(server.file(), path.parent, ignore) == path
        assert server.ranges == [""]
    assert names(path.parent) == ["a.tar.gz"]
    assert any(getattr(event, "task", "") == "download a.tar.gz" for event in seen)


def test_an_interrupted_download_goes_on(tmp_path: Path) -> None:
    with Server(breaking(400_000)) as server:
        assert fetch(server.file(), tmp_path, ignore, QUICK).read_bytes() == CONTENT
        assert server.ranges == ["", "bytes=400000-", "bytes=800000-"]


def test_a_partial_file_of_an_earlier_run_is_continued_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(CONTENT[:700_000])
    with Server(honest) as server:
        assert fetch(server.file(), tmp_path, ignore, QUICK).read_bytes() == CONTENT
        assert server.ranges == ["bytes=700000-"]
    (tmp_path / "a.tar.gz").unlink()
    (tmp_path / "a.tar.gz.part").write_bytes(b"junk")
    with Server(honest) as server:
        with pytest.raises(BadData, match="is not the published file"):
            fetch(server.file(), tmp_path, ignore, QUICK)
        assert names(tmp_path) == []
        assert fetch(server.file(), tmp_path, ignore, QUICK).read_bytes() == CONTENT


def test_a_file_of_the_wrong_size_under_the_right_name_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(CONTENT[:10])
    with Server(honest) as server:
        assert fetch(server.file(), tmp_path, ignore, QUICK).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_of_it_again(tmp_path: Path) -> None:
    def without_ranges(handler: Any, number: int, first: int) -> None:
        body = CONTENT if number > 1 else CONTENT[:300_000]
        answer(handler, 200, {"Content-Length": str(len(CONTENT))}, body)

    with Server(without_ranges) as server:
        assert fetch(server.file(), tmp_path, ignore, QUICK).read_bytes() == CONTENT
        assert server.ranges == ["", "bytes=300000-"]


def test_a_server_that_answers_another_range_is_not_believed(tmp_path: Path) -> None:
    def other_range(handler: Any, number: int, first: int) -> None:
        if first:
            answer(handler, 206, {"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}, CONTENT)
        else:
            breaking(100)(handler, number, first)

    with Server(other_range) as server:
        assert fetch(server.file(), tmp_path, ignore, QUICK).read_bytes() == CONTENT


@pytest.mark.parametrize("length", [10, 10 * len(CONTENT), None])
def test_a_server_that_lies_about_the_length_changes_nothing(tmp_path: Path, length: Any) -> None:
    def lies(handler: Any, number: int, first: int) -> None:
        headers = {"Content-Range": f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"} if first else {}
        promised = {"Content-Length": str(length)} if length is not None else {}
        answer(handler, 206 if first else 200, {**headers, **promised}, CONTENT[first:] + b"and more" * 100)

    with Server(lies) as server:
        if length == 10:
            small = RemoteFile(server.url, "a", 25, hashlib.md5(CONTENT[:25]).hexdigest())
            assert fetch(small, tmp_path, ignore, QUICK).read_bytes() == CONTENT[:25]
        else:
            assert fetch(server.file(), tmp_path, ignore, QUICK).read_bytes() == CONTENT


def test_a_server_that_stalls_is_given_up_after_a_while(tmp_path: Path) -> None:
    def stalls(handler: Any, number: int, first: int) -> None:
        answer(handler, 200, {"Content-Length": str(len(CONTENT))}, CONTENT[:1000])
        server.released.wait()

    with Server(stalls) as server:
        with pytest.raises(BadData, match="could not be fetched: .*timed out") as error:
            fetch(server.file(), tmp_path, ignore, Patience(timeout_s=0.5, tries=2, pause_s=0.001))
        assert "it goes on at 1.0 kB of 1.0 MB" in error.value.fix
        assert len(server.ranges) == 2
    assert names(tmp_path) == ["a.tar.gz.part"]


def test_a_server_that_trickles_is_given_up_too(tmp_path: Path) -> None:
    def trickles(handler: Any, number: int, first: int) -> None:
        answer(handler, 200, {"Content-Length": str(len(CONTENT))})
        while not server.released.wait(0.01):
            handler.wfile.write(b"x")

    with Server(trickles) as server, pytest.raises(BadData, match="almost stopped sending"):
        fetch(server.file(), tmp_path, ignore, Patience(timeout_s=0.5, tries=2, pause_s=0.001))


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 3), (416, 3)])
def test_only_passing_errors_are_tried_again(tmp_path: Path, status: int, requests: int) -> None:
    with Server(lambda handler, number, first: answer(handler, status, {})) as server:
        with pytest.raises(BadData, match=f"the server answers {status}"):
            fetch(server.file(), tmp_path, ignore, QUICK)
        assert len(server.ranges) == requests


def test_garbage_instead_of_http_is_an_error_like_any_other(tmp_path: Path) -> None:
    with Server(lambda handler, number, first: handler.wfile.write(b"\0garbage\r\n\r\n")) as server:
        with pytest.raises(BadData, match="could not be fetched"):
            fetch(server.file(), tmp_path, ignore, QUICK)


def test_nobody_there_is_an_error_like_any_other(tmp_path: Path) -> None:
    with Server(honest) as server:
        gone = server.file()
    with pytest.raises(BadData, match="could not be fetched"):
        fetch(gone, tmp_path, ignore, QUICK)


def test_the_wrong_file_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with Server(honest) as server:
        with pytest.raises(BadData, match="is not the published file"):
            fetch(server.file(md5="0" * 32), tmp_path, ignore, QUICK)
    assert names(tmp_path) == []


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A folder in which another process is downloading a.tar.gz."""
    with open(tmp_path / "a.tar.gz.part", "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield tmp_path


def test_two_downloads_of_one_file_do_not_mix(held: Path) -> None:
    with Server(honest) as server, pytest.raises(Locked, match="another process is downloading"):
        fetch(server.file(), held, ignore, QUICK)
