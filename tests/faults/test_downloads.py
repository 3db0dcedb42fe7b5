"""Downloads that are killed, or fill their disk; how servers misbehave is in tests/data/test_download.py."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, List, Tuple

import pytest

from ..data.test_download import CONTENT, Server, answer, honest
from ..fault_table import Faults
from ..helpers.program import ROOT

PROGRAM = """
import json, sys
from pathlib import Path
import resource
from asrctl.data.reading.download import Patience, RemoteFile, fetch
from asrctl.errors import from_os_error
url, size, md5, folder, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    fetch(RemoteFile(url, "a.tar.gz", int(size), md5), Path(folder), lambda event: None, Patience(pause_s=0.001))
except OSError as error:
    print(from_os_error(error).message)
    sys.exit(5)
"""


def fetching(server: Server, folder: Path, limit: int = 0) -> "subprocess.Popen[str]":
    words = [server.url, str(len(CONTENT)), hashlib.md5(CONTENT).hexdigest(), str(folder), str(limit)]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, cwd=str(ROOT), text=True)


def fetched(server: Server, folder: Path, limit: int = 0) -> Tuple[int, str]:
    """(exit code, what was said)."""
    process = fetching(server, folder, limit)
    told, _ = process.communicate()
    return process.returncode, told


def in_pieces(sent: List[int]) -> Any:
    """An honest server that waits for nobody, and notes how much it has sent."""

    def behave(handler: Any, number: int, first: int) -> None:
        headers = {"Content-Length": str(len(CONTENT) - first)}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"
        answer(handler, 206 if first else 200, headers)
        for start in range(first, len(CONTENT), 4096):
            handler.wfile.write(CONTENT[start : start + 4096])
            sent[0] += 4096

    return behave


@pytest.mark.parametrize("tries", [1, pytest.param(6, marks=pytest.mark.faults_full)])
def test_a_download_that_is_killed_goes_on(tmp_path: Path, faults: Faults, tries: int) -> None:
    chance = random.Random(tries)
    for number in range(tries):
        folder, sent = tmp_path / str(number), [0]
        with faults.survives("SIGKILL in a download"), Server(in_pieces(sent)) as server:
            process = fetching(server, folder)
            enough = chance.randrange(len(CONTENT))
            while process.poll() is None and sent[0] < enough:
                pass
            process.kill()
            process.communicate()
            assert not (folder / "a.tar.gz").exists() or (folder / "a.tar.gz").read_bytes() == CONTENT
            assert fetched(server, folder) == (0, "")
            assert (folder / "a.tar.gz").read_bytes() == CONTENT
            assert [path.name for path in folder.iterdir()] == ["a.tar.gz"]


def test_a_download_that_finds_no_room_goes_on(tmp_path: Path, faults: Faults) -> None:
    with faults.survives("file size limited in a download"), Server(honest) as server:
        status, told = fetched(server, tmp_path, limit=300_000)
        assert (status, "arge" in told) == (5, True)
        assert 0 < (tmp_path / "a.tar.gz.part").stat().st_size <= 300_000
        assert fetched(server, tmp_path) == (0, "")
        assert (tmp_path / "a.tar.gz").read_bytes() == CONTENT
        assert server.ranges[-1].startswith("bytes=")
