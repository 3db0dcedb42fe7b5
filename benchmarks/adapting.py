"""One small base, adapted to a speaker whom it has never heard: all weights, LoRA, a language adapter, the head alone.

    python -m benchmarks.adapting MANIFEST.csv --speaker theo --work adapting --output adapting.json
    python -m benchmarks.adapting MANIFEST.csv --size       # memory and speed of a base of 95 million weights

The base is the preset tiny-cpu, trained on everybody else (or `--base FOLDER`). Each way gets the same few
utterances of the speaker, the same steps and seed, and the last weights count. WER is on the speaker's `test`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from asrctl.config.recipe import SCRATCH
from benchmarks.leave_one_speaker_out import asrctl

# Way -> (what --set gets, learning rate): ten times as much for the few weights of the last three.
WAYS: Dict[str, Tuple[Tuple[str, ...], float]] = {
    "full": ((), 3e-4),
    "LoRA, rank 8": (("model.lora.rank=8", "model.lora.alpha=16"), 3e-3),
    "adapter of 16": (
        ("model.language=new", f"model.language_from={SCRATCH}", "model.config.adapter_attn_dim=16"),
        3e-3,
    ),
    "head alone": (("model.freeze=[wav2vec2.*]",), 3e-3),
}
_MODEL = {"filterbank": False, "blank_bias": 0, "freeze_feature_encoder": True, "config": {}, "head": "keep"}


def write(path: Path, rows: Sequence[Dict[str, str]], folder: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "text", "speaker", "split"])
        for row in rows:
            writer.writerow([(folder / row["path"]).resolve(), row["text"], row["speaker"], row["split"]])
    return path


def chosen(rows: Sequence[Dict[str, str]], speaker: str, count: int) -> List[Dict[str, str]]:
    """`count` utterances of the speaker to learn from, as many again to choose by, and the speaker's test split."""
    own = [row for row in rows if row["speaker"] == speaker]
    train = [row for row in own if row["split"] == "train"]
    step = max(1, len(train) // (2 * count))
    spread = train[::step][: 2 * count]
    parts = {"train": spread[::2], "eval": spread[1::2], "test": [row for row in own if row["split"] == "test"]}
    return [{**row, "split": split} for split, found in parts.items() for row in found]


def measured(workspace: Path, *words: str) -> Dict[str, Any]:
    """The result of a command in a process of its own, with its highest memory in MB."""
    command = [sys.executable, "-m", "asrctl", *words, "--workspace", str(workspace), "--json"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed: {told}")
    found: Dict[str, Any] = json.loads(told)["result"]
    return {**found, "peak_mb": usage.ru_maxrss / 1024, "wall_s": time.monotonic() - began}


def options_of(way: str) -> List[str]:
    settings, rate = WAYS[way]
    model = [f"model.{key}={json.dumps(value)}" for key, value in _MODEL.items()]
    keys = (*model, *settings, f"optim.learning_rate={rate:.6f}")
    return [word for key in keys for word in ("--set", key)]


def name_of(way: str) -> str:
    return way.split()[0].strip(",").lower()


def make_base(rows: Sequence[Dict[str, str]], speaker: str, folder: Path, work: Path, epochs: float) -> Path:
    """A model trained on everybody else."""
    others = [row for row in rows if row["speaker"] != speaker]
    held = [{**row, "split": "eval" if row["split"] == "test" else "train"} for row in others]
    listing = write(work / "others.csv", held, folder)
    asrctl(work / "workspace", "prepare", "manifest", str(listing), "--name", "others")
    words = ("--preset", "tiny-cpu", "--data", "others", "--run", "base", "--device", "cpu")
    asrctl(work / "workspace", "train", *words, "--set", f"optim.epochs={epochs:g}")
    asrctl(work / "workspace", "export", "--run", "base", "--output", str(work / "base"))
    return work / "base"


def quality(rows: Sequence[Dict[str, str]], folder: Path, given: argparse.Namespace, work: Path) -> Dict[str, Any]:
    workspace = work / "workspace"
    base = given.base or make_base(rows, given.speaker, folder, work, given.epochs)
    own = write(work / "own.csv", chosen(rows, given.speaker, given.utterances), folder)
    asrctl(workspace, "vocab", "manifest", str(own), "--from", str(base), "--name", "own")
    asrctl(workspace, "prepare", "manifest", str(own), "--name", "own", "--vocab", "own")
    data = ("--data", "own", "--split", "test")
    table: Dict[str, Dict[str, Any]] = {"none": wer_of(asrctl(workspace, "eval", "--model", str(base), *data))}
    fixed = ["--preset", "tiny-cpu", "--data", "own", "--device", "cpu", "--overwrite", "--max-steps", str(given.steps)]
    for key in (f"model.checkpoint={base}", "optim.global_batch_s=6", "batches.augment.speed=0", "run.eval_every=1000"):
        fixed += ["--set", key]
    for way in given.only or WAYS:
        trained = asrctl(workspace, "train", *fixed, "--run", name_of(way), *options_of(way))
        found = wer_of(asrctl(workspace, "eval", "--run", name_of(way), *data))
        table[way] = {**found, "seconds": trained["seconds"], **sizes(workspace / "runs" / name_of(way))}
        print(way, table[way], flush=True)
    return table


def wer_of(found: Dict[str, Any]) -> Dict[str, Any]:
    return {"wer": found["wer"], "interval": found["wer_interval"]}


def sizes(run: Path) -> Dict[str, float]:
    """MB of the model that is kept, and of the newest checkpoint."""

    def of(folder: Path) -> float:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6

    return {"model_mb": of(run / "model"), "checkpoint_mb": of(sorted((run / "checkpoints").glob("step-*"))[-1])}


def size(rows: Sequence[Dict[str, str]], folder: Path, work: Path, steps: int) -> Dict[str, Any]:
    """Memory and speed of a model of the size of wav2vec 2.0 base, with random weights."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    workspace, base = work / "workspace", work / "large"
    listing = write(work / "some.csv", [{**row, "split": "train"} for row in rows[:100]], folder)
    asrctl(workspace, "prepare", "manifest", str(listing), "--name", "some")
    if not base.exists():
        config = Wav2Vec2Config(vocab_size=32, do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True)
        Wav2Vec2ForCTC(config).save_pretrained(str(base))
    keys = [f"model.checkpoint={base}", "model.head=reinit", "optim.global_batch_s=6", "run.eval_every=1000"]
    fixed = ["--preset", "tiny-cpu", "--data", "some", "--device", "cpu", "--overwrite", "--max-steps", str(steps)]
    fixed += [word for key in (*keys, "cpu.cache_features=false") for word in ("--set", key)]
    table = {}
    for way in WAYS:
        own = [word if word != 'model.head="keep"' else "model.head=reinit" for word in options_of(way)]
        found = measured(workspace, "train", *fixed, "--run", name_of(way), *own)
        table[way] = {name: found[name] for name in ("peak_mb", "audio_s_per_s")}
        table[way].update(sizes(workspace / "runs" / name_of(way)))
        print(way, table[way], flush=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--size", action="store_true", help="memory and speed of a large model instead of WER")
    parser.add_argument("--speaker", default="lucas")
    parser.add_argument("--base", type=lambda word: Path(word).resolve(), help="a folder, instead of training one")
    parser.add_argument("--utterances", type=int, default=40)
    parser.add_argument("--epochs", type=float, default=22, help="of the base")
    parser.add_argument("--only", action="append", choices=list(WAYS), help="one way of adapting; repeatable")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path("adapting"))
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    with given.manifest.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    folder, work = given.manifest.parent, given.work.resolve()
    found = size(rows, folder, work, 2) if given.size else quality(rows, folder, given, work)
    text = json.dumps(found, indent=1)
    if given.output:
        given.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
