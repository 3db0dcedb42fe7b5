"""prepare --shard I/N in several jobs, then --merge: byte for byte what one command makes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile

from asrctl.data import shards

from ..helpers.corpora import corpus, noise, plain_rows
from ..helpers.program import Result, run_here
from ..helpers.typing_in import in_backticks, type_line

SHARES = 3


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of all kinds: files, members of an archive, stretches, channels, and such as can not be used.

    None of it has a split, so some is held out.
    """
    folder = tmp_path_factory.mktemp("mixed")
    rows: List[Dict[str, Any]] = [dict(row, seconds=0.4 + 0.1 * place) for place, row in enumerate(plain_rows(9))]
    stereo = np.stack([noise(1.0, 50), noise(1.0, 51)], axis=1)
    soundfile.write(str(folder / "stereo.wav"), stereo, 16000)
    soundfile.write(str(folder / "low.wav"), noise(1.0, 52, 8000), 8000)
    soundfile.write(str(folder / "silent.wav"), np.zeros(16000, np.int16), 16000)
    (folder / "broken.wav").write_bytes(b"RIFF not a recording")
    with tarfile.open(folder / "pack.tar", "w") as tar:
        for number in range(4):
            soundfile.write(str(folder / "member.wav"), noise(0.5, 60 + number), 16000)
            tar.add(folder / "member.wav", f"m{number}.wav")
    (folder / "member.wav").unlink()
    rows += [{"path": f"pack.tar::m{number}.wav", "text": f"word {'ab'[number % 2]}"} for number in range(4)]
    rows += [{"path": name, "text": "word c"} for name in ("low.wav", "silent.wav", "broken.wav")]
    rows += [{"path": "stereo.wav", "text": "word a", "channel": 1, "id": "right"}]
    rows += [{"path": "stereo.wav", "text": "word b", "start": 0.2, "end": 0.7, "id": "stretch"}]
    rows += [{"path": "away.wav", "text": "word a", "missing": True}, {"path": "mute.wav", "text": ""}]
    for row in rows:
        row.pop("split", None)
        if "::" in row["path"]:
            row["missing"] = True
    return corpus(folder, rows)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_UTTERANCES", 4)


def prepare(manifest: Path, workspace: Path, *more: Any) -> Result:
    words = ("prepare", "manifest", manifest, "--name", "all", "--max-rejects", "50%", "--workspace", workspace)
    return run_here(*words, *more)


def contents(workspace: Path) -> Dict[str, bytes]:
    """Of all that was prepared, but for the time in meta.json."""
    found = {}
    for kind in ("manifests", "vocab", "prepared"):
        for path in sorted((workspace / kind).rglob("*")):
            if path.name == "meta.json":
                meta = json.loads(path.read_text(encoding="utf-8"))
                meta["made"].pop("time")
                found[str(path.relative_to(workspace))] = json.dumps(meta).encode()
            elif path.is_file():
                found[str(path.relative_to(workspace))] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def alone(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, bytes]:
    """What one command makes."""
    workspace = tmp_path_factory.mktemp("alone") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_UTTERANCES", 4)
        prepare(manifest, workspace).succeeded()
    found = contents(workspace)
    assert len([name for name in found if name.endswith(".arrow")]) > 3
    return found


@pytest.fixture
def shared(manifest: Path, workspace: Path) -> Path:
    """A workspace in which all jobs have done their share, the last one first."""
    for number in range(SHARES, 0, -1):
        prepare(manifest, workspace, "--shard", f"{number}/{SHARES}").succeeded()
    return workspace


def test_merged_shares_are_what_one_command_makes(manifest, shared, alone):
    done = prepare(manifest, shared, "--merge", "--json").succeeded().result
    assert done["new"] is True
    assert contents(shared) == alone
    again = prepare(manifest, shared, "--merge", "--json").succeeded().result
    assert (again["new"], again["id"]) == (False, done["id"])
    assert not list((shared / "cache" / "shares").rglob("piece-*"))


def test_a_job_that_was_killed_goes_on_and_merging_needs_no_recordings(manifest, shared, alone, monkeypatch):
    folder = shared / "cache" / "shares" / "all" / str(SHARES) / "1"
    assert (folder / "digests-00001.arrow").exists()
    for name in ("done.json", "digests-00001.arrow"):  # the piece itself is there, and may be half a one
        (folder / name).unlink()
    (folder / "piece-00001.arrow").write_bytes(b"half")
    error = prepare(manifest, shared, "--merge", "--json").error
    assert f"lacks shards 1 of {SHARES}" in error["message"]
    (line,) = in_backticks(error["fix"])
    monkeypatch.setattr("sys.argv", ["asrctl"])
    result = type_line(line, "--json").succeeded().result
    assert result["missing"] == []
    aside = manifest.parent / "plain"
    aside.mkdir(exist_ok=True)
    gone = [manifest.parent / "train3.wav", manifest.parent / "pack.tar"]
    kept = [shutil.copy2(str(path), str(aside)) for path in gone]
    status = [path.stat() for path in gone]
    try:
        for path in gone:
            path.write_bytes(b"\0" * 10)
        prepare(manifest, shared, "--merge").succeeded()
    finally:
        for path, copy, seen in zip(gone, kept, status):
            shutil.copy2(copy, str(path))
            os.utime(str(path), ns=(seen.st_atime_ns, seen.st_mtime_ns))
        shutil.rmtree(str(aside))
    assert contents(shared) == alone


def test_jobs_take_no_locks(manifest, workspace, monkeypatch):
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    for number in range(1, SHARES + 1):
        prepare(manifest, workspace, "--shard", f"{number}/{SHARES}").succeeded()
    assert [path.name for path in workspace.iterdir()] == ["cache"]


@pytest.mark.parametrize(
    "changed, told", [({"asrctl": "0.0.1"}, "by asrctl 0.0.1, and this is"), ({"listing": "0" * 64}, "the list of utt")]
)
def test_shares_of_something_else_are_refused_by_jobs_and_by_merging(manifest, shared, changed, told):
    path = shared / "cache" / "shares" / "all" / str(SHARES) / "2" / "share.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changed}), encoding="utf-8")
    error = prepare(manifest, shared, "--merge", "--json").error
    assert "shard 2/3 was made from something else" in error["message"] and told in error["message"]
    assert told in prepare(manifest, shared, "--shard", "1/3", "--json").error["message"]
    (line,) = in_backticks(error["fix"])
    type_line(line).succeeded()
    prepare(manifest, shared, "--merge").succeeded()


@pytest.mark.parametrize("typed", ["0/3", "4/3", "1", "1/", "a/b", "-1/2", "1/0"])
def test_what_is_no_share_is_refused(manifest, workspace, typed):
    assert "is no share of the work" in prepare(manifest, workspace, "--shard", typed, "--json").error["message"]
    assert not workspace.exists()


def test_merging_needs_shares_and_more_shares_than_utterances_are_fine(tmp_path, workspace):
    few = corpus(tmp_path / "few", plain_rows(2) + plain_rows(1, "eval"))
    error = prepare(few, workspace, "--merge", "--json").error
    assert "no job has decoded a share" in error["message"]
    assert "exclude" not in error["fix"]
    assert "exclude each other" in prepare(few, workspace, "--merge", "--shard", "1/2", "--json").error["message"]
    for number in range(1, 6):
        prepare(few, workspace, "--shard", f"{number}/5").succeeded()
    assert prepare(few, workspace, "--merge", "--json").succeeded().result["splits"]["train"]["utterances"] == 2
