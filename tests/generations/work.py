"""What one library generation makes of a corpus, and what it sees in what another one made.

Run by the interpreter of either generation, in a process of its own:

    python work.py make FOLDER SPEECH          prepares, trains, evaluates and exports; what it sees goes to own.*
    python work.py use FOLDER OTHER SPEECH     looks at OTHER, which the other generation has made, and goes on with
                                               its runs in FOLDER/copy; what it sees goes to seen.*. Where there is
                                               an optimum-graphcore it trains on OTHER's data with it: pod.*
    python work.py listen FOLDER OTHER         looks at the run that OTHER trained with optimum-graphcore: heard.*
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, List

NORMS = ("group", "layer")
STEPS = 4
# A run is taken up again after this step, in the other generation.
STOPPED = 2
_LISTENED = 3
POD = "pod"

SMALL: Dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
# Saved as they are drawn, besides the two that are trained.
ARCHITECTURES = {
    "hubert-group": ("hubert", {"feat_extract_norm": "group"}),
    "hubert-layer": ("hubert", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "wavlm-group": ("wavlm", {"feat_extract_norm": "group"}),
    "data2vec": ("data2vec-audio", {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 7}),
}


def preset(norm: str) -> Dict[str, Any]:
    """A wav2vec 2.0 of a few thousand weights, trained with everything that a recipe usually has."""
    return {
        "name": norm,
        "model": {
            "config": dict(SMALL, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer"),
            "freeze_feature_encoder": False,
            "ctc_zero_infinity": True,
            "spec_augment": {"time_prob": 0.1},
        },
        "optim": {"global_batch": 4, "learning_rate": 1e-4, "warmup_steps": 1, "max_steps": STEPS},
        "run": {"save_every": 1, "eval_every": STEPS, "keep": STEPS},
        "cpu": {"precision": "fp32"},
    }


POD_PRESET: Dict[str, Any] = {
    "extends": "base-4ipu",
    "model": {"checkpoint": None, "config": dict(SMALL, feat_extract_norm="group"), "ctc_zero_infinity": True},
    "audio": {"max_s": 5},
    "text": {"vocab_splits": ["train"]},
    "optim": {"global_batch": 4, "warmup_steps": 1, "max_steps": 2},
    "run": {"eval_every": 2, "save_every": 1, "keep": 2},
    "ipu": {
        "layers_per_ipu": [8, 3],
        "ipus_per_replica": 2,
        "matmul_proportion": [0.1, 0.1],
        "inference_device_iterations": 2,
        "precision": "fp32",
        "dataloader_workers": 0,
    },
}


def asrctl(*words: Any) -> Dict[str, Any]:
    """The `result` of a command run in this process."""
    from tests.helpers.program import run_here

    return run_here(*words, "--json").succeeded().result


def prepare(speech: Path, workspace: Path) -> Dict[str, Any]:
    """The utterances of up to 20 s as `librispeech`, and those of up to 5 s, for static shapes, as `short`."""
    train = ("--train", "test-other", "--workspace", workspace)
    short = ("--eval", "test-clean", "--max-s", 5, "--max-rejects", 0.95, "--name", "short")
    asrctl("prepare", "librispeech", speech, *train, *short)
    return asrctl("prepare", "librispeech", speech, *train, "--eval", "dev-clean")


# -- make -------------------------------------------------------------------------------------------------------------


def make(folder: Path, speech: Path) -> None:
    workspace, seen = folder / "workspace", Seen()
    prepare(speech, workspace)
    for norm in NORMS:
        (folder / f"{norm}.yaml").write_text(json.dumps(preset(norm)), encoding="utf-8")  # JSON is YAML
        where = ("--run", norm, "--workspace", workspace)
        asrctl("train", "--preset", folder / f"{norm}.yaml", "--data", "librispeech", "--device", "cpu", *where)
        seen.rates(norm, asrctl("eval", "--device", "cpu", *where))
        asrctl("export", "--format", "hf", "--output", folder / "exports" / norm, *where)
    draw(folder / "drawn", workspace)
    look(folder, seen)
    seen.write(folder / "own")


def draw(folder: Path, workspace: Path) -> None:
    """Models as asrctl saves them, and as this generation of transformers itself does."""
    from asrctl.config.recipe import ModelSection
    from asrctl.models import loading
    from asrctl.runtime import compat

    vocabulary = prepared(workspace).vocabulary()
    for name, (architecture, config) in ARCHITECTURES.items():
        section = ModelSection(architecture=architecture, config=dict(SMALL, **config))
        loading.save_recognizer(loading.build(section, vocabulary, seed=1, sample_rate=16000).recognizer, folder / name)
    for norm in NORMS:
        recognizer = loading.load_recognizer(workspace / "runs" / norm / "model")
        loading.save_shell(recognizer, folder / f"plain-{norm}")
        with compat.quiet_transformers():
            recognizer.model.save_pretrained(str(folder / f"plain-{norm}"), safe_serialization=True)


# -- use --------------------------------------------------------------------------------------------------------------


def use(folder: Path, other: Path, speech: Path) -> None:
    """Everything that `other` holds, as this generation sees it, and its runs carried on from where they stopped."""
    seen = Seen()
    look(other, seen)
    copy = folder / "copy"
    shutil.copytree(str(other / "workspace"), str(copy))
    again = prepare(speech, copy)
    seen.told["prepared again"] = [again["id"], again["new"]]
    for norm in NORMS:
        where = ("--run", norm, "--device", "cpu", "--workspace", copy)
        seen.rates(norm, asrctl("eval", "--force", *where))
        cut = copy / "runs" / norm
        for step in range(STOPPED + 1, STEPS + 1):
            shutil.rmtree(str(cut / "checkpoints" / f"step-{step:08d}"))
        resumed = asrctl("train", "--resume", *where)
        seen.told[f"resumed {norm}"] = resumed["steps"]
        seen.weights(f"resumed {norm}", cut / "checkpoints" / f"step-{STEPS:08d}" / "model.safetensors")
        seen.weights(f"moments {norm}", cut / "checkpoints" / f"step-{STEPS:08d}" / "optimizer.safetensors")
    seen.write(folder / "seen")
    if importlib.util.find_spec("optimum") is not None:
        train_on_pod(folder, copy)


def train_on_pod(folder: Path, workspace: Path) -> None:
    """The unmodified optimum-graphcore, on data that the other generation has prepared."""
    preset, where = folder / f"{POD}.yaml", ("--run", POD, "--workspace", workspace)
    preset.write_text(json.dumps(POD_PRESET), encoding="utf-8")
    asrctl("train", "--preset", preset, "--data", "short", "--device", "ipu-emulated", *where)
    asrctl("export", "--format", "hf", "--output", folder / "exports" / POD, *where)
    seen = Seen()
    look_at_pod(folder, seen)
    seen.write(folder / POD)


def listen(folder: Path, other: Path) -> None:
    """What was trained for an IPU elsewhere, here."""
    seen = Seen()
    look_at_pod(other, seen)
    copy = folder / "copy-of-pod"
    shutil.copytree(str(other / "copy"), str(copy))
    evaluated = asrctl("eval", "--run", POD, "--device", "cpu", "--workspace", copy)
    seen.told["evaluated"] = [evaluated["utterances"], evaluated["trained_on"], evaluated["emulated"]]
    seen.write(folder / "heard")


def look_at_pod(made: Path, seen: "Seen") -> None:
    run = made / "copy" / "runs" / POD
    utterances = [prepared(made / "copy", "short").split("train")[index] for index in range(_LISTENED)]
    seen.model("run", run / "model", utterances)
    seen.model("export", made / "exports" / POD, utterances)
    seen.plain("export", made / "exports" / POD, utterances)
    for path in sorted((run / "checkpoints").glob("step-*")):
        seen.weights(f"checkpoint {path.name}", path / "model.safetensors")
        seen.weights(f"optimizer {path.name}", path / "optimizer.safetensors")


def look(made: Path, seen: "Seen") -> None:
    """Token ids, tensor names and logits of a folder that `make` made."""
    from asrctl.training import runs

    workspace = made / "workspace"
    data = prepared(workspace)
    seen.told["tokens"] = list(data.vocabulary().tokens)
    for name in data.splits:
        split = data.split(name)
        seen.told[f"labels {name}"] = {item.id: item.labels.tolist() for item in split}
        seen.told[f"samples {name}"] = {item.id: hashlib.sha256(item.pcm.tobytes()).hexdigest() for item in split}
        seen.told[f"datasets {name}"] = datasets_labels(split.folder)
    utterances = [data.split("eval")[index] for index in range(_LISTENED)]
    for norm in NORMS:
        run = runs.Run(workspace / "runs" / norm)
        seen.told[f"recipe {norm}"] = run.recipe().as_dict()
        seen.told[f"info {norm}"] = run.values()
        seen.model(f"run {norm}", run.model, utterances)
        seen.model(f"export {norm}", made / "exports" / norm, utterances)
        seen.plain(f"export {norm}", made / "exports" / norm, utterances)
        for step in (STOPPED, STEPS):
            path = run.checkpoints / f"step-{step:08d}"
            seen.weights(f"checkpoint {norm} {step}", path / "model.safetensors")
            seen.weights(f"optimizer {norm} {step}", path / "optimizer.safetensors")
    for folder in sorted((made / "drawn").iterdir()):
        seen.model(folder.name, folder, utterances)
        if not folder.name.startswith("plain"):
            seen.plain(folder.name, folder, utterances)


class Seen:
    """Words in `told`, numbers in `arrays`; written side by side."""

    def __init__(self) -> None:
        self.told: Dict[str, Any] = {}
        self.arrays: Dict[str, Any] = {}

    def write(self, path: Path) -> None:
        """PATH.json and PATH.npz."""
        import numpy as np

        path.with_suffix(".json").write_text(json.dumps(self.told), encoding="utf-8")
        np.savez(str(path.with_suffix(".npz")), **self.arrays)

    def rates(self, name: str, evaluated: Dict[str, Any]) -> None:
        import numpy as np

        self.arrays[f"rates {name}"] = np.array([evaluated["wer"], evaluated["cer"]])

    def weights(self, name: str, path: Path) -> None:
        from safetensors.numpy import load_file

        for tensor, values in sorted(load_file(str(path)).items()):
            self.arrays[f"{name}: {tensor}"] = values

    def model(self, name: str, folder: Path, utterances: List[Any]) -> None:
        """As asrctl loads it."""
        import torch

        from asrctl.data import collate
        from asrctl.models import ctc, loading, weights

        self.told[f"names {name}"] = sorted(weights.read_weights(folder))
        recognizer = loading.load_recognizer(folder)
        self.told[f"vocabulary {name}"] = list(recognizer.vocabulary.tokens)
        for item in utterances:
            batch = collate.collate([item.pcm], recognizer.features)
            with torch.inference_mode():
                logits, _ = ctc.forward(recognizer.model, exact=True, **batch)
            self.arrays[f"logits {name}: {item.id}"] = logits[0].numpy()

    def plain(self, name: str, folder: Path, utterances: List[Any]) -> None:
        """As this generation's transformers loads it, without asrctl."""
        import torch
        from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

        from asrctl.data.collate import to_float

        model, info = AutoModelForCTC.from_pretrained(str(folder), output_loading_info=True)
        self.told[f"loading {name}"] = [sorted(info["missing_keys"]), sorted(info["unexpected_keys"])]
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        extract = AutoFeatureExtractor.from_pretrained(str(folder))
        self.told[f"ids {name}"] = {item.id: list(tokenizer(item.text).input_ids) for item in utterances}
        for item in utterances:
            inputs = extract(to_float(item.pcm), sampling_rate=16000, return_tensors="pt")
            with torch.inference_mode():
                self.arrays[f"plain {name}: {item.id}"] = model.eval()(**inputs).logits[0].numpy()


def prepared(workspace: Path, name: str = "librispeech") -> Any:
    from asrctl.data.dataset import PreparedData
    from asrctl.storage.workspace import Workspace

    return PreparedData(Workspace(workspace).resolve("prepared", name, fix="-"))


def datasets_labels(folder: Path) -> Dict[str, List[int]]:
    """The labels of a split's first shard, as the library `datasets` reads it."""
    from datasets import Dataset

    table = Dataset.from_file(str(sorted(folder.glob("*.arrow"))[0]))
    return dict(zip(table["id"], table["labels"]))


if __name__ == "__main__":
    # The root of the repository stands on PYTHONPATH, put there by the test.
    warnings.simplefilter("ignore")
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    what, *paths = sys.argv[1:]
    {"make": make, "use": use, "listen": listen}[what](*map(Path, paths))
