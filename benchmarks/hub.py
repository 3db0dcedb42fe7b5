"""`asrctl prepare hub` beside the stock recipe's `load_dataset` and `map`, on the same repository of Parquet files.

    python -m benchmarks.hub librispeech LibriSpeech/ --hours 1 --hours 8 --workers 1 --workers 2 --rounds 5

The recordings of a real corpus are written into Parquet files as the hub stores them, each time with a few samples of
its own, until there are as many hours as wanted. Both commands run in turns, from the start of Python to the end, with
empty caches. Prints a JSON line for each size and number of workers: the medians of seconds and of processor seconds,
the largest peak of memory, and the ratio of seconds in each round.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from benchmarks import measured
from benchmarks.material import DATA, asrctl, ensure_model

RATE = 16000
_ROW_GROUP, _ROWS = 100, 1000
_SIDES = ("stock", "asrctl")


def repository(found: Sequence[Tuple[Path, str]], folder: Path, hours: float) -> float:
    """Parquet files of about so many hours; nine tenths for training. found: (recording, text). Hours written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "data").mkdir(parents=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    seconds, files = 0.0, 0
    rows = _copies(found, hours)
    while True:
        part = [row for _, row in zip(range(_ROWS), rows)]
        if not part:
            return seconds / 3600
        audio = pa.array([{"bytes": data, "path": f"{name}.flac"} for name, data, _, _ in part], kind)
        table = pa.table({"id": [row[0] for row in part], "audio": audio, "text": [row[2] for row in part]})
        split = "validation" if files % 10 == 1 else "train"
        target = folder / "data" / f"{split}-{files:05d}.parquet"
        pq.write_table(table, str(target), row_group_size=_ROW_GROUP)
        seconds, files = seconds + sum(row[3] for row in part), files + 1


def _copies(found: Sequence[Tuple[Path, str]], hours: float) -> Iterator[Tuple[str, bytes, str, float]]:
    """(id, FLAC, text, seconds), no two of the same samples."""
    import soundfile

    seconds, number = 0.0, 0
    while seconds < 3600 * hours:
        path, text = found[number % len(found)]
        samples, rate = soundfile.read(str(path), dtype="int16")
        samples[:100] ^= number // len(found) % 64
        stream = io.BytesIO()
        soundfile.write(stream, samples, rate, format="FLAC", subtype="PCM_16")
        duration_s = len(samples) / rate
        yield f"u{number:07d}", stream.getvalue(), text, duration_s
        seconds, number = seconds + duration_s, number + 1


def command(side: str, folder: Path, model: Path, target: Path, workers: int) -> List[str]:
    python, options = [sys.executable, "-m"], ["--workers", str(workers)]
    if side == "stock":
        files = ["--repository", str(folder), "--model", str(model), "--target", str(target)]
        return [*python, "benchmarks.stock", "prepare-hub", *files, *options]
    return [*python, "asrctl", "prepare", "hub", str(folder), "--workspace", str(target), *options, "--json"]


def measure(folder: Path, model: Path, work: Path, workers: int, rounds: int) -> Dict[str, Any]:
    taken: Dict[str, List[measured.Usage]] = {side: [] for side in _SIDES}
    for number in range(rounds):
        for side in _SIDES[:: 1 if number % 2 else -1]:
            target, log = work / "target", work / f"{side}.log"
            with log.open("wb") as stream:
                used = measured.run(command(side, folder, model, target, workers), stdout=stream, stderr=stream)
            if used.exit_code:
                raise SystemExit(log.read_text(errors="replace")[-2000:])
            taken[side].append(used)
            shutil.rmtree(target)
    values: Dict[str, Any] = {"workers": workers}
    for side, used in taken.items():
        values[f"{side}_s"] = round(statistics.median(one.seconds for one in used), 2)
        values[f"{side}_cpu_s"] = round(statistics.median(one.cpu_s for one in used), 2)
        values[f"{side}_peak_mb"] = round(max(one.peak_bytes for one in used) / 1e6)
    pairs = zip(taken["stock"], taken["asrctl"])
    return dict(values, ratios=[round(stock.seconds / ours.seconds, 2) for stock, ours in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="librispeech, manifest or folder")
    parser.add_argument("source", type=Path)
    parser.add_argument("--hours", type=float, action="append", required=True)
    parser.add_argument("--workers", type=int, action="append", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("hub-size"), help="is made, and deleted at the end")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True)
    try:
        found = _listed(options.corpus, options.source)
        repository(found, work / "small", 0.1)
        asrctl("prepare", "hub", work / "small", "--workspace", work / "workspace", "--name", DATA)
        model = ensure_model(work / "workspace", work, "tiny")
        for hours in options.hours:
            made = repository(found, work / "repository", hours)
            for workers in options.workers:
                values = measure(work / "repository", model, work, workers, options.rounds)
                print(json.dumps({"hours": round(made, 2), **values}), flush=True)
            shutil.rmtree(work / "repository")
    finally:
        shutil.rmtree(work)


def _listed(corpus: str, source: Path) -> List[Tuple[Path, str]]:
    from asrctl.data.corpora import find
    from asrctl.data.corpus import CorpusRequest
    from benchmarks.corpus_size import SPLITS

    request = CorpusRequest(source.resolve(), optional_splits=SPLITS)
    return [(Path(item.audio), item.text) for item in find(corpus).utterances(request)]


if __name__ == "__main__":
    main()
