"""prepare under stress: killed, doubled, started beside a busy torch, and fed with much audio."""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile

from ..helpers.program import ROOT
from ..helpers.stops import HANGS_S, stopped

pytestmark = pytest.mark.fault("prepare under stress")


def make_corpus(folder: Path, minutes: int) -> Path:
    """A manifest of ten-second stretches of one-minute files, every tenth of them unusable."""
    folder.mkdir()
    rows = []
    for minute in range(minutes):
        name = f"{minute:03d}.wav"
        pcm = np.random.default_rng(minute).integers(-2000, 2000, 60 * 16000, dtype=np.int16)
        soundfile.write(str(folder / name), pcm, 16000)
        for tenth in range(6):
            bad = (minute * 6 + tenth) % 10 == 0
            start = 1000.0 if bad else tenth * 10.0
            rows.append({"path": name, "text": f"text {minute} {tenth}", "start": start, "end": start + 10.0})
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def command(path: Path, workspace: Path, *more: str) -> List[str]:
    words = ["prepare", "manifest", str(path), "--workspace", str(workspace), "--max-rejects", "0.2", "--json", *more]
    return [sys.executable, "-m", "asrctl", *words]


def environment(**more: str) -> Dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def run(words: List[str], **more: str) -> Dict[str, Any]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANGS_S, check=False, env=environment(**more))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def digests(result: Dict[str, Any]) -> Dict[str, str]:
    """{file: sha256} of an artifact, as its meta.json says."""
    return json.loads((Path(result["path"]) / "meta.json").read_text(encoding="utf-8"))["files"]


def found(folder: Path, pattern: str) -> List[Path]:
    """Files whose name fits, anywhere below; a folder that a running command takes away meanwhile has none."""
    walk = os.walk(folder)  # pathlib's rglob ends with an error there
    return [Path(inner) / name for inner, _, names in walk for name in fnmatch.filter(names, pattern)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """35 minutes: five shards."""
    return make_corpus(tmp_path_factory.mktemp("faults") / "corpus", 35)


@pytest.fixture(scope="module")
def straight(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Any]:
    """The result of a run that nobody disturbed, with one worker."""
    return run(command(corpus, tmp_path_factory.mktemp("straight") / "ws", "--workers", "1"))


# Where it is killed, try after try: while it tells of its second shard, writes a shard, is between two shards, is about
# to tell of one, and while it puts together what the shards have told.
KILLS = [("/.part-", 5), ("/.shard-", 1), ("/.shard-", 3), ("/.part-", 3), ("/part-", 1), ("/part-", 9)]


def test_killed_here_and_there_it_ends_with_the_same_bytes(
    corpus: Path, straight: Dict[str, Any], tmp_path: Path
) -> None:
    workspace = tmp_path / "ws"
    shards: Dict[Path, int] = {}
    for text, passes in KILLS:
        process = stopped(command(corpus, workspace)[3:], workspace, text, passes=passes, env=environment())
        process.kill()
        process.communicate()
        for part in found(workspace, "part-*.json"):
            shard = part.with_name(part.name.replace("part", "shard").replace("json", "arrow"))
            shards.setdefault(shard, shard.stat().st_mtime_ns)
        assert not list((workspace / "prepared").glob("*/*.tmp"))
    result = run(command(corpus, workspace))
    assert result["id"] == straight["id"]
    assert digests(result) == digests(straight)
    kept = {path.stat().st_mtime_ns for path in Path(result["path"]).rglob("shard-*.arrow")}
    assert len(shards) >= 2
    assert set(shards.values()) <= kept, "what was whole was not done again"
    assert not [path for path in (workspace / ".tmp").iterdir() if not path.name.endswith(".lock")]


def test_what_a_killed_command_left_goes_with_the_next(corpus: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    process = stopped(command(corpus, workspace)[3:], workspace, ".jsonl")
    process.kill()
    process.communicate()
    assert list(workspace.glob(".tmp/scratch-*"))
    run(command(corpus, workspace))
    assert not list(workspace.glob(".tmp/scratch-*"))


def test_rejects_before_and_after_a_kill_are_all_listed(straight: Dict[str, Any]) -> None:
    lines = [
        json.loads(line)
        for split in straight["splits"]
        for line in (Path(straight["path"]) / split / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) == 21
    assert {line["reason"] for line in lines} == {"outside"}
    assert straight["splits"]["train"]["utterances"] + straight["splits"]["eval"]["utterances"] == 189
    assert straight["splits"]["train"]["seconds"] + straight["splits"]["eval"]["seconds"] == 1890.0


def test_two_at_once_make_one(corpus: Path, straight: Dict[str, Any], tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    both = [
        subprocess.Popen(
            command(corpus, workspace), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=HANGS_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    results = [json.loads(out)["result"] for out, _ in ends]
    assert {result["id"] for result in results} == {straight["id"]}
    assert digests(results[0]) == digests(straight)


def test_workers_do_not_freeze_beside_a_torch_that_has_used_its_threads(
    corpus: Path, straight: Dict[str, Any], tmp_path: Path
) -> None:
    """The original recipe forked workers after OpenMP had started; with OMP_NUM_THREADS set they hung for ever."""
    pytest.importorskip("torch")
    program = (
        "import sys, torch; torch.set_num_threads(4); x = torch.randn(600, 600); (x @ x).sum().item();"
        "torch.nn.functional.conv1d(torch.randn(8, 16, 4000), torch.randn(16, 16, 9)).sum().item();"
        "from asrctl.cli.app import main; main(sys.argv[1:])"
    )
    words = command(corpus, tmp_path / "ws", "--workers", "4")
    result = run([sys.executable, "-c", program, *words[3:]], OMP_NUM_THREADS="4")
    assert digests(result) == digests(straight)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
def test_memory_is_flat_in_the_length_of_the_corpus(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom asrctl.cli.app import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        "    peak = [line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1]\n"
        "    open(sys.argv[-1] + '.peak', 'w').write(peak)\n"
    )
    peaks = []
    source = make_corpus(tmp_path / "corpus", 12)
    rows = source.read_text(encoding="utf-8").splitlines()
    for times in (2, 16):
        path = source.with_name(f"{times}.jsonl")
        path.write_text(
            "".join(
                json.dumps({**json.loads(row), "id": f"{turn}-{number}"}) + "\n"
                for turn in range(times)
                for number, row in enumerate(rows)
            ),
            encoding="utf-8",
        )
        words = [
            "prepare",
            "manifest",
            str(path),
            "--max-rejects",
            "0.2",
            "--json",
            "--workspace",
            str(tmp_path / str(times)),
        ]
        run([sys.executable, "-c", program, *words])
        peaks.append(int(Path(f"{tmp_path / str(times)}.peak").read_text(encoding="utf-8")) / 1024)
    assert peaks[1] < 500
    assert peaks[1] < peaks[0] * 1.15 + 10, f"{peaks} MB for 24 and 192 minutes of audio"
