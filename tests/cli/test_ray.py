"""prepare --engine ray, on a cluster of three machines that are all this one (`nox -s long`)."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from ..helpers import tones
from ..helpers.program import run_here
from ..helpers.stops import until

SMALL = ("--num-cpus", "1", "--object-store-memory", "80000000", "--min-worker-port", "0", "--max-worker-port", "0")
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="Ray is not installed (pip install 'asrctl[ray]', Python 3.9 or newer)",
)


class Cluster:
    """A head and two more nodes on the loopback address, each a group of processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.nodes: List["subprocess.Popen[bytes]"] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        port = self.address.partition(":")[2]
        self._start("--head", "--port", port, "--include-dashboard=false", "--dashboard-agent-listen-port", "0")
        for _ in range(2):
            self._start("--address", self.address, "--dashboard-agent-listen-port", "0")

    def _start(self, *words: str) -> None:
        log = self._folder / f"node{len(self.nodes)}.log"
        command = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--block",
            "--disable-usage-stats",
            *SMALL,
            *words,
        ]
        with open(log, "wb") as stream:
            options: Dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": stream, "stderr": stream}
            node = subprocess.Popen([*command, "--node-ip-address", "127.0.0.1"], start_new_session=True, **options)
        self.nodes.append(node)
        until(lambda: b"Ray runtime started" in log.read_bytes() or node.poll() is not None)
        assert node.poll() is None, log.read_text()

    def kill(self, number: int) -> None:
        os.killpg(self.nodes[number].pid, signal.SIGKILL)
        self.nodes[number].wait()

    def stop(self) -> None:
        for number, node in enumerate(self.nodes):
            if node.returncode is None:
                self.kill(number)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def made_of(workspace: Path) -> Dict[str, bytes]:
    return {
        str(path.relative_to(workspace)): path.read_bytes()
        for kind in ("manifests", "vocab", "prepared")
        for path in sorted((workspace / kind).rglob("*"))
        if path.is_file() and path.name != "meta.json"
    }


@pytest.mark.slow
@needs_ray
def test_a_cluster_that_loses_a_machine_makes_what_one_command_makes(tmp_path, cluster):
    manifest = tones.write_corpus(tmp_path / "corpus", train=240, held_out=24)
    words = ("prepare", "manifest", manifest, "--name", "tones")
    run_here(*words, "--workspace", tmp_path / "alone").succeeded()
    there = tmp_path / "there"
    ray = ("--engine", "ray", "--address", cluster.address, "--json", "--workspace", there)
    command = [sys.executable, "-m", "asrctl", *map(str, (*words, *ray))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    until(lambda: list((there / "cache" / "shares").rglob("share.json")), process)
    cluster.kill(2)
    assert len(list((there / "cache" / "shares").rglob("done.json"))) < 12, "it was over before a machine was lost"
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "12 shares of the work for 3 processors of 3 machines" in stderr
    result = json.loads(stdout)["result"]
    assert made_of(there) == made_of(tmp_path / "alone")
    assert (tmp_path / "alone" / "prepared" / result["id"]).is_dir()
    shutil.rmtree(str(there / "prepared"))
    again = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=True
    )  # what was merged is decoded again
    assert json.loads(again.stdout)["result"]["id"] == result["id"]


@needs_ray
@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told(tmp_path):
    manifest = tones.write_corpus(tmp_path / "corpus", train=3, held_out=2)
    words = ("--engine", "ray", "--address", "127.0.0.1:1", "--workspace", tmp_path / "there", "--json")
    command = [sys.executable, "-m", "asrctl", "prepare", "manifest", str(manifest), *map(str, words)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert "there is no Ray cluster at 127.0.0.1:1" in json.loads(done.stdout)["error"]["message"], done.stderr


def test_without_ray_its_package_is_named(tmp_path, workspace, asrctl, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    manifest = tones.write_corpus(tmp_path / "corpus", train=3, held_out=2)
    error = asrctl("prepare", "manifest", manifest, "--engine", "ray", "--json").error
    assert "needs Ray" in error["message"] and "asrctl[ray]" in error["fix"]
    assert "there is no engine" in asrctl("prepare", "manifest", manifest, "--engine", "rya", "--json").error["message"]
    assert not workspace.exists()
