"""Files from elsewhere, by connections that break and servers that change their mind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, List

import pytest

from asrctl.errors import BadData, MissingArtifact
from asrctl.events import Event, Warned
from asrctl.storage import addresses
from asrctl.storage.remote import streaming
from asrctl.storage.remote.mirror import Mirror
from asrctl.storage.remote.stores import Patience

from ..helpers.elsewhere import Web, web

CONTENT = bytes(range(256)) * 4000  # 1 MB
QUICK = Patience(timeout_s=60, tries=3, pause_s=0.001)


@pytest.fixture
def server() -> Iterator[Web]:
    with web() as served:
        served.files["a/x.tar"] = CONTENT
        yield served


def mirror(folder: Path, **options: Any) -> Mirror:
    return Mirror(folder, patience=QUICK, **options)


def parts(folder: Path) -> List[Path]:
    return list((folder / "parts").iterdir())


def test_what_breaks_goes_on_where_it_broke(server: Web, tmp_path: Path) -> None:
    told: List[Event] = []
    server.breaks["a/x.tar"] = 300_000
    found = mirror(tmp_path, emit=told.append).get(addresses.parsed(f"{server.url}/a/x.tar"))
    assert found.read_bytes() == CONTENT and not parts(tmp_path)
    assert server.asked == ["a/x.tar bytes=0-0", "a/x.tar", "a/x.tar bytes=300000-"]
    assert [event.message for event in told if isinstance(event, Warned)] == [
        "a connection broke (the connection ended early) and is made again"
    ]


def test_what_always_breaks_comes_bit_by_bit_or_is_given_up(server: Web, tmp_path: Path) -> None:
    """As long as something comes it goes on; the rest is fetched by the next try, though the program was killed."""
    address = addresses.parsed(f"{server.url}/a/x.tar")
    server.breaks["a/x.tar"], server.always = 400_000, ["a/x.tar"]
    assert mirror(tmp_path / "one").get(address).read_bytes() == CONTENT
    server.ranges = False  # each time it begins anew, and so never comes to the end
    with pytest.raises(BadData) as caught:
        mirror(tmp_path / "two").get(address)
    assert caught.value.message.endswith("/a/x.tar could not be fetched: the connection ended early")
    assert caught.value.fix.endswith("it goes on at 400 kB of 1.0 MB")
    server.ranges, server.always, server.breaks, server.asked = True, [], {}, []
    assert mirror(tmp_path / "two").get(address).read_bytes() == CONTENT
    assert server.asked[1:] == ["a/x.tar bytes=400000-"]


def test_a_server_without_parts_begins_anew(server: Web, tmp_path: Path) -> None:
    server.ranges, server.breaks["a/x.tar"] = False, 300_000
    assert mirror(tmp_path).get(addresses.parsed(f"{server.url}/a/x.tar")).read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_what_changes_between_two_reads_is_never_half_of_each(server: Web, tmp_path: Path, ranges: bool) -> None:
    address = addresses.parsed(f"{server.url}/a/x.tar")
    server.ranges = ranges
    server.breaks["a/x.tar"], server.always = 0, ["a/x.tar"]
    with pytest.raises(BadData):
        mirror(tmp_path).get(address)
    server.breaks["a/x.tar"] = 500_000
    server.always, server.files["a/x.tar"] = [], CONTENT[::-1]
    assert mirror(tmp_path).get(address).read_bytes() == CONTENT[::-1] and not parts(tmp_path)
    server.files["a/x.tar"] = CONTENT[1:]
    assert mirror(tmp_path).get(address).read_bytes() == CONTENT[1:]
    server.asked.clear()
    assert mirror(tmp_path).get(address).read_bytes() == CONTENT[1:] and server.asked == ["a/x.tar bytes=0-0"]


def test_what_changes_all_the_time_is_told(server: Web, tmp_path: Path) -> None:
    class Restless(dict):
        count = 0

        def get(self, *_: Any) -> bytes:
            self.count += 1
            return b"%07d" % self.count * 10

    server.files = Restless()
    with pytest.raises(BadData) as caught:
        mirror(tmp_path).get(addresses.parsed(f"{server.url}/a/x.tar"))
    assert caught.value.message.endswith("/a/x.tar changes while it is read")


def test_what_is_read_where_it_lies(server: Web, tmp_path: Path) -> None:
    """By ranges that grow; a connection that stays broken is no fault of what is read."""
    address = addresses.parsed(f"{server.url}/a/x.tar")
    stand = streaming.stand(mirror(tmp_path).streamed(address))
    assert stand is not None and stand.address == address
    server.breaks["a/x.tar"] = 100_000
    found = streaming.RangedFile(stand, QUICK)
    assert b"".join(iter(lambda: found.read(70_000), b"")) == CONTENT
    assert streaming.RangedFile(stand, QUICK).read(900_000) == CONTENT[:900_000]
    assert 3 < len(server.asked) < 12
    server.always, server.breaks["a/x.tar"] = ["a/x.tar"], 0
    for content in (CONTENT, CONTENT[:-1]):
        server.files["a/x.tar"] = content
        with pytest.raises(MissingArtifact) as caught:
            streaming.RangedFile(stand, QUICK).read(10)
        assert not isinstance(caught.value, BadData)
    assert caught.value.message.endswith("/a/x.tar has changed since it was listed")
    server.ranges, server.always, server.files["a/x.tar"] = False, [], CONTENT
    with pytest.raises(MissingArtifact, match="its server gives no parts of files"):
        last = streaming.RangedFile(stand, QUICK)
        last.seek(-10, 2)
        last.read(10)


def test_nobody_there(tmp_path: Path, server: Web) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(BadData) as caught:
        mirror(tmp_path).get(addresses.parsed(f"http://127.0.0.1:{port}/x.tar"))
    assert caught.value.message == f"http://127.0.0.1:{port}/x.tar could not be fetched: Connection refused"
    assert caught.value.fix == "check the network and run the command again"


@pytest.mark.parametrize(
    ("typed", "shown", "plain"),
    [
        ("s3://b/k/a b.wav", "s3://b/k/a b.wav", "k/a b.wav"),
        ("S3A://b/k.wav", "s3://b/k.wav", "k.wav"),
        ("https://me:pw@h:8/k.wav?sig=abc&id=3", "https://h:8/k.wav", "k.wav?id=3"),
        ("https://h/k.wav?X-Goog-Signature=1#part", "https://h/k.wav", "k.wav"),
        ("s3://b/why?.wav", "s3://b/why?.wav", "why?.wav"),
    ],
)
def test_what_an_address_is_called(typed: str, shown: str, plain: str) -> None:
    address = addresses.parsed(typed)
    assert (address.shown, address.plain) == (shown, plain)


def test_no_address_leads_out_of_its_folder_or_to_the_file_of_another() -> None:
    typed = [
        "s3://b/../../x",
        "s3://b/./x",
        "s3://b//x",
        "s3://b/%2E%2E/x",
        "s3://../x/y",
        "s3://b/" + "x" * 900,
        "s3://b/\0",
    ]
    typed += ["https://h/x?id=1", "https://h/x?id=2", "https://h/x", "http://h/x", "s3://b/x", "s3://b", "gs://b/x"]
    found = [addresses.parsed(word).local for word in typed]
    assert len(set(found)) == len(found)
    for path in found:
        assert all(part.strip(".") and len(part) < 250 and "\0" not in part for part in path.split("/")), path
    signed = {addresses.parsed(f"https://h/x.wav?X-Amz-Signature={one}").local for one in ("1", "2")}
    assert signed == {"https/h/x.wav"}
