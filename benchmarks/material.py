"""What both sides work on: the same utterances, and a model of the same random weights."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence

GEOMETRIES: Dict[str, Dict[str, Any]] = {
    "base": {},
    # wav2vec 2.0 large (LV-60k): a layer-norm encoder, pre-norm layers.
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
    },
    "tiny": {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "conv_dim": [32] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    },
}
PRESET = Path(__file__).with_name("stock.yaml")
DATA = "bench"


@dataclass(frozen=True)
class Corpus:
    """What the user pointed at. kind, source: as for `asrctl prepare`. splits: its further options."""

    kind: str
    source: Path
    options: Sequence[str]


@dataclass(frozen=True)
class Material:
    """Where everything of one benchmark lies. utterances: [{"id", "path", "text"}] of the training split."""

    work: Path
    utterances: List[Dict[str, str]]
    audio_s: float

    @property
    def workspace(self) -> Path:
        return self.work / "workspace"

    @property
    def listing(self) -> Path:
        return self.work / "utterances.json"

    @property
    def arrow(self) -> Path:
        """The stock recipe's data."""
        return self.work / "stock-arrow"

    def model(self, geometry: str) -> Path:
        """A folder with a model of random weights (seed 0) for the corpus' vocabulary."""
        return ensure_model(self.workspace, self.work, geometry)


def asrctl(*arguments: Any) -> Dict[str, Any]:
    """The result of one command. Raises CalledProcessError."""
    command = [sys.executable, "-m", "asrctl", *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    return json.loads(done.stdout)["result"]


def ensure(corpus: Corpus, work: Path) -> Material:
    """Prepare the corpus with asrctl, list its training utterances, and prepare them with the stock recipe too."""
    work.mkdir(parents=True, exist_ok=True)
    workspace = work / "workspace"
    asrctl("prepare", corpus.kind, corpus.source, *corpus.options, "--name", DATA, "--workspace", workspace)
    material = _listed(work)
    if not material.arrow.exists():
        model = ensure_model(workspace, work, "tiny")
        command = [sys.executable, "-m", "benchmarks.stock", "prepare"]
        command += ["--listing", str(material.listing), "--model", str(model), "--target", str(material.arrow)]
        try:
            subprocess.run(command, check=True)
        except BaseException:
            shutil.rmtree(material.arrow, ignore_errors=True)
            raise
    return material


def prepared(workspace: Path) -> Any:
    """The asrctl.data.dataset.PreparedData of the benchmark."""
    from asrctl.data.dataset import PreparedData
    from asrctl.storage.workspace import Workspace

    return PreparedData(Workspace(workspace).resolve("prepared", DATA, fix="run the benchmark from its start"))


def _listed(work: Path) -> Material:
    """The utterances that training sees, with the files that they came from."""
    from asrctl.data.utterance import ARCHIVE_SEPARATOR, read_manifest

    data = prepared(work / "workspace")
    split = data.split("train")
    wanted = {split.id(index): split.text(index) for index in range(len(split))}
    rows = []
    for manifest in sorted((work / "workspace" / "manifests").glob("*/utterances.jsonl")):
        for utterance in read_manifest(manifest):
            text = wanted.pop(utterance.id, None)
            if text is None:
                continue
            if ARCHIVE_SEPARATOR in utterance.audio or utterance.start_s or utterance.end_s:
                raise SystemExit("the stock recipe reads whole files only: give a corpus of one file per utterance")
            rows.append({"id": utterance.id, "path": str(Path(utterance.audio).resolve()), "text": text})
    material = Material(work, rows, split.seconds)
    material.listing.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return material


def ensure_model(workspace: Path, work: Path, geometry: str) -> Path:
    from asrctl.config.recipe import ModelSection
    from asrctl.models import loading

    folder = work / f"model-{geometry}"
    if not folder.exists():
        section = ModelSection(config=GEOMETRIES[geometry])
        vocabulary = prepared(workspace).vocabulary()
        built = loading.build(section, vocabulary, seed=0, sample_rate=16000)
        loading.save_recognizer_atomically(built.recognizer, folder)
    return folder


def longer(material: Material, hours: float) -> Material:
    """The same utterances again and again, prepared as a corpus of `hours`."""
    manifest, _ = copies(material, hours)
    return ensure(Corpus("manifest", manifest, ()), material.work / f"{hours:g}h")


def copies(material: Material, hours: float) -> "tuple[Path, Path]":
    """The utterances again and again as files of their own, until there are `hours`: (CSV manifest, JSON listing)."""
    folder = material.work.resolve() / f"copies-{hours:g}h"  # a manifest's paths are relative to the manifest
    rows: List[Dict[str, str]] = []
    times = max(1, round(hours * 3600 / material.audio_s))
    folder.mkdir(exist_ok=True)
    for copy in range(times):
        for utterance in material.utterances:
            path = folder / f"{utterance['id']}-{copy}{Path(utterance['path']).suffix}"
            if not path.exists():
                shutil.copyfile(utterance["path"], path)
            rows.append({"id": path.stem, "path": str(path), "text": utterance["text"]})
    manifest, listing = folder / "manifest.csv", folder / "listing.json"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["id", "path", "text", "split"])
        writer.writeheader()
        writer.writerows(dict(row, split="train") for row in rows)
    listing.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return manifest, listing
