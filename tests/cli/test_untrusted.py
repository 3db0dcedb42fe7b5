"""A checkpoint, a run or a workspace of a stranger: nothing in it is ever run, whatever the command."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any, Iterator, Tuple

import pytest

from asrctl.storage.hashing import digest, file_sha256

from ..helpers.program import ROOT, run_here

pytestmark = pytest.mark.fault("a stranger's model or run")

PICKLES = (
    "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt", "trainer.pkl", "vocab.pkl",
    "tokenizer.pkl", "flax_model.msgpack", "tf_model.h5", "state.pt", "adapter_model.bin", "model.pt",
)  # fmt: skip


class Malicious:
    """Runs a command wherever it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self._trap = trap

    def __reduce__(self) -> Tuple[Any, ...]:
        return os.mkdir, (str(self._trap),)


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Path]:
    """A folder that exists once a stranger's code has run."""
    path = tmp_path / "trap"
    yield path
    assert not path.exists(), "a stranger's code has run"


@pytest.fixture
def workspace(honest_workspace: Path) -> Path:
    return honest_workspace


def poison(folder: Path, trap: Path, *, weights: bool = False) -> Path:
    """Code and pickles wherever a loader could look for them, and settings that name them."""
    code = f"import os\nos.makedirs({str(trap)!r}, exist_ok=True)\n"
    for name in ("modeling_evil", "configuration_evil", "tokenization_evil", "processing_evil", "__init__", "conftest",
                 "sitecustomize", "custom_generate", "handler"):  # fmt: skip
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    (folder / "custom_generate").mkdir(exist_ok=True)
    (folder / "custom_generate" / "generate.py").write_text(code, encoding="utf-8")
    for name in PICKLES:
        (folder / name).write_bytes(pickle.dumps(Malicious(trap)))
    auto = {"AutoConfig": "configuration_evil.C", "AutoModelForCTC": "modeling_evil.M", "AutoModel": "modeling_evil.M",
            "AutoTokenizer": ["tokenization_evil.T", None], "AutoProcessor": "processing_evil.P",
            "AutoFeatureExtractor": "processing_evil.F"}  # fmt: skip
    more = {
        "config.json": {"architectures": ["Evil"], "attn_implementation": "evil/kernels", "trust_remote_code": True,
                        "_attn_implementation": "evil/kernels", "quantization_config": {"quant_method": "evil"},
                        "use_kernels": True, "custom_pipelines": {"x": {"impl": "modeling_evil.P"}}},
        "tokenizer_config.json": {"trust_remote_code": True, "tokenizer_file": "/x", "processor_class": "Evil"},
        "preprocessor_config.json": {"processor_class": "Evil"},
        "processor_config.json": {"processor_class": "Evil"},
        "generation_config.json": {"custom_generate": "custom_generate"},
    }  # fmt: skip
    for name, values in more.items():
        path = folder / name
        known = json.loads(path.read_bytes()) if path.exists() else {}
        path.write_text(json.dumps(dict(known, auto_map=auto, **values)), encoding="utf-8")
    if weights:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(trap)))
    # Digests keep accidents out, no attacker: a stranger leaves them out, or makes them fit.
    if (folder / "SHA256SUMS").exists():
        (folder / "SHA256SUMS").unlink()
    return folder


def poisoned(workspace: Path, tmp_path: Path, trap: Path, **how: Any) -> Path:
    folder = tmp_path / "stranger"
    shutil.copytree(str(workspace / "runs" / "r" / "model"), str(folder))
    return poison(folder, trap, **how)


def commands(honest: Path, folder: Path, output: Path) -> "dict[str, tuple]":
    """Every command that takes a checkpoint."""
    preset = ("--preset", honest / "tones.yaml", "--device", "cpu", "--max-steps", 1)
    return {
        "train": ("train", *preset, "--run", "t", "--set", f"model.checkpoint={folder}", "--set", "model.config={}"),
        "train keep": ("train", *preset, "--run", "t", "--set", f"model.checkpoint={folder}",
                       "--set", "model.head=keep", "--set", "model.config={}"),
        "eval": ("eval", "--model", folder, "--device", "cpu"),
        "export": ("export", "--model", folder, "--format", "hf", "--output", output),
        "vocab": ("vocab", "manifest", honest / "corpus" / "tones.csv", "--from", folder),
        "plan": ("plan", "--preset", "base-4ipu", "--set", f"model.checkpoint={folder}"),
    }  # fmt: skip


COMMANDS = ("train", "train keep", "eval", "export", "vocab", "plan")


@pytest.mark.parametrize("name", COMMANDS)
def test_code_in_a_checkpoint_is_never_run(
    name: str, honest: Path, workspace: Path, tmp_path: Path, trap: Path
) -> None:
    folder = poisoned(workspace, tmp_path, trap)
    done = run_here(*commands(honest, folder, tmp_path / "out")[name])
    assert done.exit_code in (0, 3), done.stderr
    assert done.exit_code == 0 or name in ("plan", "train keep"), done.stderr
    if name == "export":
        told = "".join(path.read_text() for path in (tmp_path / "out").glob("*.json"))
        assert "evil" not in told.lower() and not list((tmp_path / "out").glob("*.py"))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "EvilTokenizer"}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"0": {"content": "x"}}}),
        ("preprocessor_config.json", {"feature_extractor_type": "Evil"}),
    ],
)
def test_a_tokenizer_or_extractor_of_a_stranger_is_refused(
    name: str, values: "dict[str, Any]", honest: Path, workspace: Path, tmp_path: Path, trap: Path
) -> None:
    folder = poisoned(workspace, tmp_path, trap)
    path = folder / name
    path.write_text(json.dumps(dict(json.loads(path.read_bytes()), **values)), encoding="utf-8")
    done = run_here(*commands(honest, folder, tmp_path / "out")["eval"], "--json")
    assert done.exit_code == 5 and done.error["fix"], (done.stdout, done.stderr)


@pytest.mark.parametrize("name", ["train", "train keep", "eval", "export"])
def test_pickled_weights_are_refused(name: str, honest: Path, workspace: Path, tmp_path: Path, trap: Path) -> None:
    folder = poisoned(workspace, tmp_path, trap, weights=True)
    done = run_here(*commands(honest, folder, tmp_path / "out")[name], "--json")
    assert done.exit_code == 5, (done.stdout, done.stderr)
    assert "pytorch_model.bin" in done.error["message"] and done.error["fix"]


def test_a_strangers_run_is_only_data(honest: Path, workspace: Path, trap: Path) -> None:
    """resume, from-run, eval and export of a run whose every folder is poisoned."""
    run = workspace / "runs" / "r"
    for folder in (run, run / "model", run / "start", *(run / "checkpoints").iterdir()):
        poison(folder, trap)
    (run / "checkpoints" / "step-00000002" / "backend").mkdir()
    poison(run / "checkpoints" / "step-00000002" / "backend", trap)
    preset = ("--preset", honest / "tones.yaml", "--device", "cpu")
    for words in (
        ("train", "--resume", "--run", "r", "--max-steps", 4, "--device", "cpu"),
        ("train", *preset, "--from-run", "r", "--run", "next", "--max-steps", 1),
        ("eval", "--run", "r", "--device", "cpu"),
        ("export", "--run", "r", "--format", "hf"),
        ("status",),
        ("clean",),
    ):
        run_here(*words).succeeded()


def vouch(checkpoint: Path, state: "dict[str, Any]") -> None:
    """Write state.json with the digest of itself that fits."""
    own = digest({key: value for key, value in state.items() if key != "digest"})
    (checkpoint / "state.json").write_text(json.dumps(dict(state, digest=own)), encoding="utf-8")


def test_a_strangers_checkpoint_with_fitting_digests_is_only_data(workspace: Path, trap: Path) -> None:
    """The files themselves must be harmless."""
    checkpoint = workspace / "runs" / "r" / "checkpoints" / "step-00000002"
    for name in ("model.safetensors", "optimizer.safetensors"):
        (checkpoint / name).unlink()  # other tests have links to it
        (checkpoint / name).write_bytes(pickle.dumps(Malicious(trap)))
    state = json.loads((checkpoint / "state.json").read_bytes())
    state["files"] = {path.name: file_sha256(path) for path in checkpoint.iterdir() if path.name != "state.json"}
    vouch(checkpoint, state)
    done = run_here("train", "--resume", "--run", "r", "--max-steps", 4, "--device", "cpu", "--json")
    assert done.exit_code == 5 and done.error["fix"], done.stderr


@pytest.mark.parametrize("change", ["missing", "shape", "type"])
def test_a_checkpoint_of_another_model_is_refused(workspace: Path, change: str) -> None:
    from safetensors.torch import load, save_file

    checkpoint = workspace / "runs" / "r" / "checkpoints" / "step-00000002"
    for name in ("model.safetensors", "optimizer.safetensors"):
        tensors = load((checkpoint / name).read_bytes())
        (checkpoint / name).unlink()  # other tests have links to it
        key = sorted(tensors)[0]
        if change == "missing":
            del tensors[key]
        else:
            tensors[key] = tensors[key].reshape(-1)[:1].clone() if change == "shape" else tensors[key].bool()
        save_file(tensors, str(checkpoint / name))
        state = json.loads((checkpoint / "state.json").read_bytes())
        state["files"][name] = file_sha256(checkpoint / name)
        vouch(checkpoint, state)
    done = run_here("train", "--resume", "--run", "r", "--max-steps", 4, "--device", "cpu", "--json")
    assert done.exit_code == 5 and done.error["fix"], done.stderr


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a call's function; "" for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_nothing_ever_trusts_remote_code_or_unpickles() -> None:
    """No call that could, in any file; torch.load is one place, with weights_only."""
    found = []
    for path in sorted((ROOT / "asrctl").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = path.relative_to(ROOT).as_posix()
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                found.append(f"{name}:{node.value.lineno}: trust_remote_code")
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                risky = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"} & {
                    module.split(".")[0] for module in modules
                }
                found += [f"{name}:{node.lineno}: imports {module}" for module in risky]
            if isinstance(node, ast.Call) and dotted(node.func) in (
                "torch.load",
                "exec",
                "eval",
                "yaml.unsafe_load",
            ):
                safe = any(
                    word.arg == "weights_only" and getattr(word.value, "value", None) is True for word in node.keywords
                )
                found += [] if safe else [f"{name}:{node.lineno}: {dotted(node.func)}"]
            if isinstance(node, ast.Call) and dotted(node.func) in ("np.load", "numpy.load"):
                found.append(f"{name}:{node.lineno}: numpy's files can hold pickles")
    assert not found
