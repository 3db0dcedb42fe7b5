"""A small workspace with everything in it, made by asrctl's own writers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import numpy as np

from asrctl.config import presets
from asrctl.data.collate import FeatureRules
from asrctl.data.shard_files import PreparedUtterance, write_shard
from asrctl.data.text import TextRules, Vocabulary, build_vocabulary
from asrctl.models import processor
from asrctl.storage import files
from asrctl.storage.workspace import Key, Workspace

_SPLIT = {"utterances": 2, "seconds": 0.2, "rejected": 1, "reasons": {"empty": 1}, "sources": ["train"]}


def made(root: Path) -> Dict[str, bytes]:
    """{path: bytes} of a workspace's files."""
    workspace = Workspace(root)
    vocabulary = build_vocabulary(dict.fromkeys("abc ", 1), TextRules())
    with workspace.publish(Key("vocab", 1)) as draft:
        vocabulary.save(draft.path)
        draft.summary.update(
            name="x", text=TextRules().as_dict(), splits=["train"], given=False, size=6, digest=vocabulary.digest
        )
    workspace.set_ref("vocab", "x", draft.path.name.partition("-")[2])
    prepared = _prepared(workspace, vocabulary)
    run = _run(workspace, vocabulary, prepared)
    digest = {"model": "0" * 64, "data": prepared}
    with workspace.publish(Key("evals", 1, inputs=digest)) as draft:
        files.write_json(draft.path / "metrics.json", {"wer": 0.5})
        draft.summary.update(run=run, split="eval", wer=0.5, cer=0.2, data="x")
    with workspace.publish(Key("exports", 1, inputs=digest)) as draft:
        draft.summary.update(run=run, format="hf", data="x", verified={"utterances": 1})
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def _prepared(workspace: Workspace, vocabulary: Vocabulary) -> str:
    key = Key("prepared", 1, parameters={"name": "x"})
    with workspace.publish(key) as draft:
        vocabulary.save(draft.path / "vocab")
        for split in ("train", "eval"):
            items = [
                PreparedUtterance(f"{split}-{n}", "s" if n else None, "ab c", np.array([0, 1, 2], np.int32), _pcm(n))
                for n in range(2)
            ]
            write_shard(draft.path / split / "shard-00000.arrow", items)
            files.write_text(
                draft.path / split / "rejects.jsonl", '{"id": "r", "audio": "r.wav", "reason": "empty", "detail": ""}\n'
            )
        draft.summary.update(_summary(vocabulary))
    workspace.set_ref("prepared", "x", key.id)
    return key.id


def _pcm(number: int) -> np.ndarray:
    return np.arange(1600 + number, dtype=np.int16)


def _summary(vocabulary: Vocabulary) -> Dict[str, Any]:
    return {
        "name": "x", "corpus": "folder", "preset": None, "sample_rate": 16000, "min_s": 0.0, "max_s": 20.0,
        "text": TextRules().as_dict(), "conv_kernel": [10], "conv_stride": [5], "vocabulary": "0" * 12,
        "vocabulary_digest": vocabulary.digest, "vocabulary_size": len(vocabulary), "manifest": "0" * 12, "note": None,
        "splits": {"train": _SPLIT, "eval": _SPLIT},
    }  # fmt: skip


def _run(workspace: Workspace, vocabulary: Vocabulary, prepared: str) -> str:
    folder = workspace.root / "runs" / "r"
    processor.write(folder / "model", vocabulary, FeatureRules())
    files.write_text(folder / "recipe.yaml", presets.dumps(presets.load("tiny-cpu").recipe))
    info = {
        "schema": 1, "name": "r", "sequence": 1, "state": "complete", "preset": "tiny-cpu", "device": "cpu",
        "emulated": False, "precision": "fp32", "data": {"name": "x", "id": prepared},
        "vocabulary": vocabulary.digest, "base": None, "command": ["asrctl", "train"], "steps": 2, "total_steps": 2,
        "best": {"step": 2, "wer": 0.5}, "versions": {"asrctl": "0"}, "seconds": 1.5, "reason": "finished",
    }  # fmt: skip
    files.write_json(folder / "run.json", info)
    return "r"
