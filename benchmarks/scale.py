"""How time and memory of what is done for each utterance grow with their number: 10 million of them, without any audio.

    python -m benchmarks.scale --rows 1000000 --rows 10000000

Each stage runs in a process of its own, whose peak memory the system counts, on a listing that is made for it: ids,
paths and texts of a usual length, one utterance in ten for evaluation, 50,000 speakers. Decoding is measured elsewhere
(benchmarks.corpus_size): it goes by seconds of audio and keeps nothing of what it has decoded. 10 million rows take 6
GB of disk, and about half an hour of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import numpy as np

from asrctl.data.utterance import Utterance, read_manifest, write_manifest

_SPEAKERS = 50_000
_TEXT = "it was the best of times it was the worst of times it was the age of wisdom and number {} of its kind"
_SHARD_ROWS = 2048


def utterances(rows: int) -> Iterator[Utterance]:
    """A listing of so many rows, with digests."""
    for number in range(rows):
        yield Utterance(
            f"corpus-{number:09d}",
            f"/data/speech/{number // 10_000:06d}/{number:09d}.flac",
            _TEXT.format(number),
            "eval" if number % 10 == 0 else "train",
            f"speaker-{number % _SPEAKERS}",
            sha256=f"{number * 2654435761 % 2**64:064x}",
        )


def _nothing(rows: int, folder: Path) -> None:
    """What Python and the libraries take by themselves."""


def _write(rows: int, folder: Path) -> None:
    write_manifest(folder / "written.jsonl", utterances(rows))


def _read(rows: int, folder: Path) -> None:
    assert sum(1 for _ in read_manifest(folder / "utterances.jsonl")) == rows


def _list(rows: int, folder: Path) -> None:
    from asrctl.data.manifest import CorpusChoice, listed
    from asrctl.storage.workspace import Workspace

    with listed(Workspace(folder / "workspace"), CorpusChoice("manifest", folder / "list.jsonl"), write=False) as found:
        assert sum(found[2].counts.values()) == rows


def _roles() -> Any:
    from asrctl.data.split_roles import Roles

    return Roles({"train": ("train",), "eval": ("eval",)})


def _scan(rows: int, folder: Path) -> None:
    from asrctl.data import text_statistics
    from asrctl.data.text import TextRules

    found = text_statistics.scan(read_manifest(folder / "utterances.jsonl"), _roles(), TextRules())
    assert found.utterances("train") + found.utterances("eval") == rows


def _hold_out(rows: int, folder: Path) -> None:
    from asrctl.data import split_roles

    wanted = split_roles.WantedSplits({"train": ("train",), "eval": (), "test": ()}, ("train",), (), True, True)
    counts = {"train": rows - rows // 10, "eval": rows // 10}
    assert split_roles.assign(wanted, folder / "utterances.jsonl", counts).held_out


def _copies(rows: int, folder: Path) -> None:
    from asrctl.data import duplicates

    assert not duplicates.tell(lambda: read_manifest(folder / "utterances.jsonl"), _roles(), lambda event: None)


def _lengths(rows: int) -> np.ndarray:
    return np.random.default_rng(1).integers(16_000, 320_000, rows, dtype=np.int32)


def _epoch(rows: int, folder: Path) -> None:
    from asrctl.data.sampler import BatchPlan

    plan = BatchPlan(_lengths(rows), 32, "grouped", drop_last=False, seed=1)
    assert sum(len(batch) for batch in plan.epoch(3)) == rows


def _epoch_by_audio(rows: int, folder: Path) -> None:
    from asrctl.data.sampler import BatchPlan

    plan = BatchPlan(_lengths(rows), 1, "shuffled", drop_last=False, seed=1, batch_samples=16_000 * 320)
    assert sum(len(batch) for batch in plan.epoch(3)) == rows


def _epoch_of_a_mixture(rows: int, folder: Path) -> None:
    from asrctl.data.mixing import Mixing, Shares
    from asrctl.data.sampler import BatchPlan

    sizes = [rows - rows // 10, rows // 10]
    members = (np.arange(sizes[0]), np.arange(sizes[0], rows))
    mixing = Mixing(members, tuple(Shares(temperature=2.0).quotas(sizes)))
    plan = BatchPlan(_lengths(rows), 32, "shuffled", drop_last=False, seed=1, mixing=mixing)
    assert sum(len(batch) for batch in plan.epoch(3)) == rows


def _open(rows: int, folder: Path) -> None:
    from asrctl.data.dataset import PreparedSplit

    assert len(PreparedSplit(folder / "train", name="train", sample_rate=16_000)) == rows


def _score(rows: int, folder: Path) -> None:
    """The interval draws utterances 1,000 times; the alignment of texts, which goes by their words, is left out."""
    from asrctl.evaluation.metrics import Tally

    tally = Tally(rows)
    for index in range(rows):
        tally.add(index, f"corpus-{index:09d}", "so it was", "so it was" if index % 10 else "so it is")
    assert 0.03 < tally.part(np.arange(rows) < 1000).wer < 0.04


STAGES: Dict[str, Callable[[int, Path], None]] = {
    "nothing": _nothing,
    "write a manifest": _write,
    "read a manifest": _read,
    "list a corpus": _list,
    "characters and key": _scan,
    "hold out a tenth": _hold_out,
    "recordings in two splits": _copies,
    "epoch, grouped": _epoch,
    "epoch, by audio": _epoch_by_audio,
    "epoch of a mixture": _epoch_of_a_mixture,
    "open prepared speech": _open,
    "score": _score,
}


def _write_shards(rows: int, folder: Path) -> None:
    """Prepared speech of a few samples an utterance: shards that are full by their number of utterances."""
    from asrctl.data.shard_files import PreparedUtterance, write_shard

    labels, pcm = np.arange(60, dtype=np.int32) % 28, np.zeros(4, dtype=np.int16)
    folder.mkdir()
    for shard, start in enumerate(range(0, rows, _SHARD_ROWS)):
        numbers = range(start, min(rows, start + _SHARD_ROWS))
        found = [PreparedUtterance(f"corpus-{number:09d}", None, "so it was", labels, pcm) for number in numbers]
        write_shard(folder / f"shard-{shard:05d}.arrow", found)


def _made(rows: int, folder: Path) -> None:
    """What the stages read."""
    write_manifest(folder / "utterances.jsonl", utterances(rows))
    with (folder / "list.jsonl").open("w", encoding="utf-8") as stream:
        for item in utterances(rows):
            row = {"path": item.audio, "text": item.text, "split": item.split, "id": item.id}
            stream.write(json.dumps(row) + "\n")
    _write_shards(rows, folder / "train")


def measured(stage: str, rows: int, folder: Path) -> Dict[str, Any]:
    """Seconds and peak memory in MB of a stage, in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.scale", "--rows", str(rows), "--stage", stage, "--folder", str(folder)]
    done = subprocess.run(words, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return dict(json.loads(done.stdout))


def _peak_bytes() -> int:
    """Of this process since it began; getrusage counts what the process that started it had, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def _run(stage: str, rows: int, folder: Path) -> Dict[str, Any]:
    began, cpu = time.perf_counter(), time.process_time()
    STAGES[stage](rows, folder)
    return {
        "stage": stage,
        "rows": rows,
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mb": round(_peak_bytes() / 1e6, 1),
    }


def main(arguments: List[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", required=True)
    parser.add_argument("--stage", action="append", choices=list(STAGES), help="only these; default: all")
    parser.add_argument("--folder", type=Path, help="(of the processes that measure)")
    typed = parser.parse_args(arguments)
    if typed.folder is not None:
        print(json.dumps(_run(typed.stage[0], typed.rows[0], typed.folder)))
        return
    for rows in typed.rows:
        with tempfile.TemporaryDirectory(prefix="asrctl-scale-", dir=os.environ.get("TMPDIR")) as name:
            folder = Path(name)
            _made(rows, folder)
            for stage in typed.stage or STAGES:
                print(json.dumps(measured(stage, rows, folder)), flush=True)
                shutil.rmtree(folder / "workspace", ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
