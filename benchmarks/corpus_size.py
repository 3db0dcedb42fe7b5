"""How memory and time of `asrctl prepare`, and of the way to the first step of training, grow with the corpus.

    python -m benchmarks.corpus_size librispeech LibriSpeech/ --hours 1 --hours 100
    python -m benchmarks.corpus_size manifest digits.csv --utterances 100 --utterances 300000 --train tiny-cpu

The recordings of a real corpus are linked again and again, each time under a name of its own, until there are as many
hours or utterances as wanted; asrctl is called as a user would, in a process whose peak memory the system counts. Each
corpus is deleted again when it has been measured. 100 hours take 12 GB of disk and a few minutes of two cores.
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
from itertools import count
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from asrctl.data import audio
from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.data.utterance import Utterance
from benchmarks import measured

_KB = 1024
# Of LibriSpeech, whatever of these is there; other corpora are read as a whole.
SPLITS = ("train-clean-100", "train-other-500", "dev-clean", "dev-other", "test-clean", "test-other")


def linked(
    found: List[Tuple[Utterance, float]], folder: Path, hours: float, utterances: int
) -> Tuple[Path, int, float]:
    """A manifest of links to `found` that lasts `hours`, or has so many utterances; its rows, and hours of audio."""
    folder.mkdir(parents=True)
    made, seconds = 0, 0.0
    path = folder / "list.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for number, (utterance, duration_s) in _again_and_again(found):
            if (utterances and made >= utterances) or (hours and seconds >= 3600 * hours):
                break
            link = folder / f"{number // len(found):06d}" / f"{number:08d}{Path(utterance.audio).suffix}"
            link.parent.mkdir(exist_ok=True)
            os.link(utterance.audio, link)
            row = {"path": str(link), "text": utterance.text, "split": "train" if made % 100 else "eval"}
            stream.write(json.dumps(dict(row, id=f"u{number:08d}")) + "\n")
            made, seconds = made + 1, seconds + duration_s
    return path, made, seconds / 3600


def _again_and_again(found: List[Tuple[Utterance, float]]) -> Iterator[Tuple[int, Tuple[Utterance, float]]]:
    return ((number, found[number % len(found)]) for number in count())


def prepared(manifest: Path, workspace: Path) -> Dict[str, Any]:
    """Seconds, peak memory in MB, and bytes on disk of one `asrctl prepare`. Raises CalledProcessError."""
    words = [
        sys.executable,
        "-m",
        "asrctl",
        "prepare",
        "manifest",
        str(manifest),
        "--workspace",
        str(workspace),
        "--json",
    ]
    with tempfile.TemporaryFile() as stdout:
        used = measured.run(words, stdout=stdout)
        stdout.seek(0)
        document = stdout.read().decode("utf-8")
    if used.exit_code:
        raise subprocess.CalledProcessError(used.exit_code, words, document)
    values = {"prepare_s": used.seconds, "cpu_s": used.cpu_s, "peak_mb": used.peak_bytes / 1e6}
    return dict(values, bytes=json.loads(document)["result"]["bytes"])


def first_step(preset: str, workspace: Path) -> Dict[str, Any]:
    """Seconds from the start of `asrctl train` to the end of its first step, and peak memory in MB until then.

    Linux only: the peak is read from /proc. The run is killed after the step.
    """
    words = [
        sys.executable,
        "-m",
        "asrctl",
        "train",
        "--preset",
        preset,
        "--workspace",
        str(workspace),
        "--device",
        "cpu",
    ]
    began, said = time.monotonic(), []
    process = subprocess.Popen([*words, "--run", "first", "--overwrite"], stderr=subprocess.PIPE, encoding="utf-8")
    for line in process.stderr:
        said.append(line)
        if line.startswith("train: 1 of "):
            seconds = time.monotonic() - began
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            process.kill()
            process.wait()
            peak = next(row.split()[1] for row in status.splitlines() if row.startswith("VmHWM"))
            return {"first_step_s": seconds, "train_peak_mb": int(peak) * _KB / 1e6}
    raise subprocess.CalledProcessError(process.wait(), words, "".join(said))


def measure(
    found: List[Tuple[Utterance, float]], work: Path, preset: Optional[str], *, hours: float = 0, utterances: int = 0
) -> Dict[str, Any]:
    """One corpus from links to deletion."""
    shutil.rmtree(work, ignore_errors=True)
    try:
        manifest, made, hours = linked(found, work / "corpus", hours, utterances)
        values = {"hours": hours, "utterances": made, **prepared(manifest, work / "workspace")}
        if preset is not None:
            first_step(preset, work / "workspace")  # libraries come from the disk's cache the second time
            values.update(first_step(preset, work / "workspace"))
        return {name: round(value, 2) for name, value in values.items()}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="librispeech, manifest or folder")
    parser.add_argument("source", type=Path)
    parser.add_argument("--hours", type=float, action="append", default=[])
    parser.add_argument("--utterances", type=int, action="append", default=[])
    parser.add_argument("--train", metavar="PRESET", help="measure the way to the first step, too")
    parser.add_argument("--work", type=Path, default=Path("corpus-size"), help="on the disk of the source; is emptied")
    options = parser.parse_args()
    corpus = find(options.corpus)
    request = CorpusRequest(options.source.resolve(), optional_splits=SPLITS)
    readable = ((item, audio.duration_s(Path(item.audio))) for item in corpus.utterances(request))
    found = [(item, duration_s) for item, duration_s in readable if duration_s is not None]
    sizes = [{"hours": hours} for hours in options.hours] + [{"utterances": number} for number in options.utterances]
    for size in sizes:
        print(json.dumps(measure(found, options.work.resolve(), options.train, **size)), flush=True)


if __name__ == "__main__":
    main()
