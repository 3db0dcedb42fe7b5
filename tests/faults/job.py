"""Small jobs, and what they come to: every file that matters, so that two workspaces can be compared byte for byte."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import soundfile
import yaml

from asrctl.commands.train_checks import changed_keys
from asrctl.storage import files
from asrctl.storage.workspace import KINDS
from asrctl.training import checkpoints

from ..helpers.program import copy_workspace
from ..helpers.tones import PRESET, write_corpus
from .processes import Ended, Nursery

# Dropout, layer drop, SpecAugment and augmentation on; checkpoints within epochs of three steps.
RECIPE: Dict[str, Any] = copy.deepcopy(PRESET)
RECIPE["name"] = "faulty"
RECIPE["model"].update(
    hidden_dropout=0.1,
    attention_dropout=0.1,
    activation_dropout=0.1,
    layerdrop=0.2,
    spec_augment={"time_prob": 0.2, "time_length": 2},
)
RECIPE["model"]["config"].update(hidden_size=32, num_hidden_layers=2)
RECIPE["optim"].update(max_steps=8, warmup_steps=2)
RECIPE["batches"] = {"augment": {"speed": 0.1, "gain_db": 6, "noise_snr_db": 20, "join": 2}}
RECIPE["run"] = {"log_every": 1, "save_every": 2, "eval_every": 3, "keep": 2}

PREPARE = ("prepare", "manifest", "corpus/tones.csv", "--preset", "faulty")
TRAIN = ("train", "--preset", "faulty", "--device", "cpu", "--run", "r")
RESUME = ("train", "--resume", "--device", "cpu", "--run", "r")
EVALUATE = ("eval", "--run", "r", "--device", "cpu")
EXPORT = ("export", "--run", "r", "--format", "hf")
STAGES = {"prepare": PREPARE, "train": TRAIN, "eval": EVALUATE, "export": EXPORT}


@dataclass
class Job:
    """A corpus, and workspaces in which it came as far as each stage without a fault.

    before: {stage: workspace as the stage finds it}; after: the same when it is done. seconds: how long each took.
    """

    folder: Path
    nursery: Nursery
    stages: Dict[str, Tuple[Any, ...]]
    before: Dict[str, Path] = field(default_factory=dict)
    after: Dict[str, Path] = field(default_factory=dict)
    seconds: Dict[str, float] = field(default_factory=dict)

    def words(self, stage: str) -> Tuple[Any, ...]:
        return self.stages[stage]

    def carry_out(self) -> "Job":
        for number, stage in enumerate(self.stages):
            self.before[stage] = self.folder / f"{number}-before-{stage}"
            self.after[stage] = self.folder / f"{number + 1}-after-{stage}"
            last = list(self.after.values())[-2] if number else None
            for place in (self.before[stage], self.after[stage]):
                if last is None:
                    place.mkdir()
                    _write_preset(place)
                else:
                    copy_workspace(last, place)
            done = self.nursery.run(self.words(stage), self.after[stage]).succeeded()
            self.seconds[stage] = done.seconds
        return self

    def start_from(self, stage: str, place: Path) -> Path:
        """A workspace of one's own, as `stage` finds it."""
        return copy_workspace(self.before[stage], place)

    def next_words(self, stage: str, workspace: Path) -> Tuple[Any, ...]:
        """What somebody types after `stage` was killed."""
        begun = stage == "train" and (workspace / "runs" / "r" / "run.json").exists()
        return RESUME if begun else self.words(stage)

    def go_on(self, stage: str, workspace: Path, **more: Any) -> Ended:
        return self.nursery.run(self.next_words(stage, workspace), workspace, **more)

    def copy(self, workspace: Path, place: Path) -> Path:
        return copy_workspace(workspace, place)

    def check(self, stage: str, workspace: Path, *, but: Sequence[str] = ()) -> None:
        """`workspace` came to what the undisturbed one did, and nothing lies about. but: what of a run may differ."""
        wanted, found = outcome(self.after[stage]), outcome(workspace)
        for values in (wanted, found):
            for name in but:
                section, _, key = name.rpartition(".")
                run = values.get("runs/r", {})
                (run.get(section, {}) if section else run).pop(key, None)
        differences = changed_keys(wanted, found)
        assert not differences, "\n".join(["not the same:", *differences])
        assert leftovers(workspace) == [], leftovers(workspace)

    def check_run(self, workspace: Path) -> None:
        """The run learned what the undisturbed one did; it may have been evaluated more often."""
        differences = changed_keys(*(_learned(place) for place in (self.after["train"], workspace)))
        assert not differences, "\n".join(["not the same:", *differences])


def _write_preset(workspace: Path) -> None:
    (workspace / "presets").mkdir()
    (workspace / "presets" / "faulty.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")


def short_job(folder: Path, nursery: Nursery) -> Job:
    corpus = write_corpus(folder / "corpus", train=24, held_out=6)
    return Job(folder, nursery, dict(STAGES, prepare=(*PREPARE[:2], corpus, *PREPARE[3:]))).carry_out()


def long_job(folder: Path, nursery: Nursery) -> Job:
    """9,000 stretches of 0.15 s: shards are full at 2,048. Every hundredth lies outside of its file."""
    generator = np.random.default_rng(0)
    soundfile.write(str(folder / "all.wav"), generator.integers(-2000, 2000, 960000, dtype=np.int16), 16000)
    rows = []
    for number in range(9000):
        start_s = 1000.0 + number if number % 100 == 7 else 0.006 * number
        split = "train" if number < 6500 else "eval"
        rows.append({"path": "all.wav", "text": "ab", "start": start_s, "end": start_s + 0.15, "split": split})
    listing = folder / "list.jsonl"
    listing.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Job(folder, nursery, {"prepare": ("prepare", "manifest", listing, "--workers", 1)}).carry_out()


# -- comparing --------------------------------------------------------------------------------------------------------


def outcome(workspace: Path) -> Dict[str, Any]:
    """Everything that a job made: artifacts and runs by name, digests of files, metrics; no clocks."""
    found: Dict[str, Any] = {}
    for kind in KINDS:
        for folder in _folders(workspace / kind):
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            digests = files.file_digests(folder)
            del digests["meta.json"]
            assert meta["files"] == digests, f"{folder} is not what its meta.json says"
            found[f"{kind}/{folder.name}"] = digests
    for folder in _folders(workspace / "runs"):
        found[f"runs/{folder.name}"] = _run(folder)
    for path in sorted((workspace / "refs").rglob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        found[path.relative_to(workspace).as_posix()] = {name: told.get(name) for name in ("id", "name")}
    return found


def _folders(folder: Path) -> List[Path]:
    """Those that people find: hidden ones are `leftovers`."""
    found = folder.iterdir() if folder.is_dir() else []
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _run(folder: Path) -> Dict[str, Any]:
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for entry in metrics:
        entry.pop("audio_s_per_s", None)
    known = ("name", "state", "reason", "steps", "total_steps", "best", "data", "vocabulary", "preset", "base")
    steps = checkpoints.steps(folder / "checkpoints")
    return {
        "info": {name: info.get(name) for name in (*known, "command")},
        "metrics": metrics,
        "model": files.file_digests(folder / "model"),
        "start": files.file_digests(folder / "start"),
        "recipe": (folder / "recipe.yaml").read_text(encoding="utf-8"),
        "checkpoints": {step: files.file_digests(checkpoints.path_of(folder / "checkpoints", step)) for step in steps},
    }


def _learned(workspace: Path) -> Dict[str, Any]:
    found = _run(workspace / "runs" / "r")
    last = found["checkpoints"][max(found["checkpoints"])]
    del last["state.json"]
    return {"metrics": [entry for entry in found["metrics"] if entry["kind"] == "train"], "last": last}


def leftovers(workspace: Path, allowed: Sequence[str] = ()) -> List[str]:
    """What a command should have cleared away."""
    found = [path for path in (workspace / ".tmp").glob("*") if not path.name.endswith(".lock")]
    for path in workspace.rglob(".*"):
        if path.name != ".tmp" and not str(path).startswith(str(workspace / ".tmp")):
            found.append(path)
    names = sorted({path.relative_to(workspace).as_posix() for path in found})
    return [name for name in names if not name.startswith(tuple(allowed) or ("\0",))]


def visible_halves(workspace: Path) -> List[str]:
    """Published folders that lack what their meta.json lists: what nobody may ever see."""
    found = []
    for kind in KINDS:
        for folder in _folders(workspace / kind):
            if (folder / "meta.json").exists():
                meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
                digests = files.file_digests(folder)
                digests.pop("meta.json")
                if digests != meta["files"]:
                    found.append(f"{kind}/{folder.name}")
    return found
