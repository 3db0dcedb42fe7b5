"""Weights that are something else: wrapped in names of training, held back by git-lfs, or none at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
import torch
from safetensors.torch import load_file, save_file

from asrctl.config.recipe import ModelSection
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData, MissingArtifact
from asrctl.models import loading, weights
from asrctl.storage.checksums import SUMS

from ..helpers.tiny import VOCABULARY, geometry, tiny_recognizer

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 377607901\n"
)
SMALL = geometry(intermediate_size=24, num_conv_pos_embeddings=4)
Names = Callable[[str], str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    loading.save_recognizer(tiny_recognizer(SMALL, "hubert"), tmp_path / "hubert")
    return tmp_path / "hubert"


def held(folder: Path) -> Dict[str, torch.Tensor]:
    # Copies: what is loaded may be the file itself, mapped, and tests write it anew.
    return {name: tensor.clone() for name, tensor in load_file(str(folder / "model.safetensors")).items()}


def put(folder: Path, tensors: Dict[str, torch.Tensor]) -> None:
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})


def put_torch(folder: Path, value: Any, **options: Any) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(value, str(folder / "pytorch_model.bin"), **options)


def before(prefix: str) -> Names:
    return lambda name: prefix + name


WRAPPED = {
    "compiled": before("_orig_mod."),
    "parallel": before("module."),
    "compiled-parallel": before("_orig_mod.module."),
    "parallel-compiled": before("module._orig_mod."),
    "framework": before("model."),
    "framework-compiled": before("model._orig_mod."),
    "compiled-framework": before("_orig_mod.model."),
    "twice": before("learner.model."),
    "sharded": before("_forward_module._fsdp_wrapped_module."),
    "encoder": lambda name: name.replace("hubert.encoder.", "hubert.encoder._orig_mod."),
    "base": lambda name: name.replace("hubert.", "hubert.module."),
    "layers": lambda name: name.replace(".layers.1.", ".layers.1._checkpoint_wrapped_module."),
}


@pytest.mark.parametrize("rename", WRAPPED.values(), ids=list(WRAPPED))
def test_what_training_puts_before_names_comes_off(rename: Names, folder: Path) -> None:
    original = held(folder)
    put(folder, {rename(name): tensor for name, tensor in original.items()})
    found = weights.read_weights(folder)
    assert set(found) == set(original)
    assert all(torch.equal(found[name], tensor) for name, tensor in original.items())
    assert {name: shape.shape for name, shape in weights.read_shapes(folder).items()} == {
        name: tuple(tensor.shape) for name, tensor in original.items()
    }
    loading.load_recognizer(folder)


def test_a_wrapped_base_model_starts_a_training(folder: Path) -> None:
    bare = {f"model.{name[len('hubert.') :]}": value for name, value in held(folder).items() if "lm_head" not in name}
    expected = held(folder)["hubert.encoder.layer_norm.weight"]
    put(folder, dict(bare, **{"model.encoder.layer_norm.weight": expected + 1}))
    section = ModelSection(checkpoint=str(folder), head="reinit")
    model = loading.build(section, VOCABULARY, seed=1, sample_rate=16000).recognizer.model
    assert torch.equal(model.hubert.encoder.layer_norm.weight, expected + 1)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
def test_weights_inside_a_training_checkpoint_are_used(key: str, options: Dict[str, Any], folder: Path) -> None:
    original = held(folder)
    put_torch(folder, {"epoch": 3, key: {f"model.{name}": value for name, value in original.items()}}, **options)
    assert set(weights.read_weights(folder)) == set(weights.read_shapes(folder)) == set(original)
    loading.load_recognizer(folder)


def refusal(folder: Path) -> BadData:
    """The same words, whether weights are read or only looked at."""
    with pytest.raises((BadData, MissingArtifact)) as real:
        loading.load_recognizer(folder)
    with pytest.raises(real.type) as looked:
        loading.examine_trained(folder)
    assert looked.value.as_dict() == real.value.as_dict()
    assert "weights_only" not in str(real.value.as_dict())
    return real.value


def test_two_models_in_one_file_are_refused(folder: Path) -> None:
    put(
        folder,
        {f"{who}.{name}": value.clone() for who in ("teacher", "student") for name, value in held(folder).items()},
    )
    assert "several models: student.hubert.*, teacher.hubert.*" in refusal(folder).message


def test_fairseqs_names_are_called_so(folder: Path) -> None:
    names = {name: name.replace(".conv.weight", ".0.weight") for name in held(folder)}
    put(folder, {"w2v_encoder." + names[name]: value for name, value in held(folder).items()})
    assert "fairseq's names" in refusal(folder).message


def test_weights_of_another_model_are_one_sentence(folder: Path) -> None:
    put(folder, {f"bert.{number}.weight": torch.zeros(2) for number in range(40)})
    with pytest.raises(BadData) as caught:
        loading.build(ModelSection(checkpoint=str(folder), head="reinit"), VOCABULARY, seed=1, sample_rate=16000)
    assert "are of another model than its configuration: none of the " in caught.value.message
    assert "'bert.0.weight', 'bert.1.weight' ..." in caught.value.message and not caught.value.problems


def test_many_missing_weights_are_counted(folder: Path) -> None:
    put(folder, {name: value for name, value in held(folder).items() if ".layers.1." not in name})
    problems = refusal(folder).problems
    assert problems[0] == "hubert.encoder.layers.1.attention.k_proj.bias is missing"
    assert len(problems) == 6 and problems[5] == "11 more are missing"


class Payload:
    def __reduce__(self) -> Any:
        return (print, ("ran",))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text(POINTER), "is a git-lfs pointer: the file itself was never fetched"),
        (lambda path: path.write_text("<!DOCTYPE html><html>Sign in</html>"), "it is a web page"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "it is one of TensorFlow's"),
        (lambda path: path.write_bytes(bytes(range(256)) * 9), "can not be read as weights"),
        (lambda path: path.mkdir(), "it is missing, or not a regular file"),
        (
            lambda path: torch.save({"a": torch.zeros(3)}, str(path)) or path,
            {".safetensors": "its name should be pytorch_model.bin", ".bin": "no CTC head"},
        ),
        (
            lambda path: save_file({"a": torch.zeros(3)}, str(path)) or path,
            {".safetensors": "no CTC head", ".bin": "its name should be model.safetensors"},
        ),
    ],
    ids=["lfs", "html", "empty", "hdf5", "noise", "folder", "torch", "safetensors"],
)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_that_is_something_else_is_called_that(make: Any, said: Any, name: str, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    make(folder / name)
    assert (said if isinstance(said, str) else said[Path(name).suffix]) in refusal(folder).message


@pytest.mark.parametrize(
    "value", [{"args": Payload()}, {"state_dict": {}, "hyper": Payload()}, [torch.zeros(2)], {"a": "text"}, {"a": {}}]
)
def test_a_torch_file_of_other_things_is_refused_without_torchs_advice(value: Any, folder: Path) -> None:
    put_torch(folder, value)
    assert "Re-running" not in refusal(folder).message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tf_model.h5", "tf_model.h5 is TensorFlow's"),
        ("adapter_model.safetensors", "holds an adapter (PEFT): adapter_model.safetensors is only what"),
        ("last.ckpt", "last.ckpt is a checkpoint of a training framework"),
        ("config.yaml", "holds no weights"),
    ],
)
def test_what_stands_in_the_place_of_weights_is_named(name: str, said: str, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / name)
    assert said in refusal(folder).message


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.json", "tokenizer_config.json"])
def test_a_pointer_of_git_lfs_comes_with_its_cure(name: str, asrctl: Any, tones: Path, tmp_path: Path) -> None:
    model = tmp_path / "a clone"
    shutil.copytree(str(tones / "runs" / "learned" / "model"), str(model))
    (model / SUMS).unlink()
    (model / name).write_text(POINTER)
    for options in ((), ("--dry-run",)):
        failed = asrctl("eval", "--model", model, "--device", "cpu", *options, "--json")
        assert failed.exit_code == 5
        assert failed.error["message"] == f"{model / name} is a git-lfs pointer: the file itself was never fetched"
        assert failed.error["fix"] == f"run `git -C '{model}' lfs pull`, which needs git-lfs"


def test_a_pointer_in_the_place_of_an_index_or_a_shard_is_one(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(POINTER)
    assert "index.json is a git-lfs pointer" in refusal(folder).message
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}}))
    loading.load_recognizer(folder)
    (folder / "model-00001-of-00001.safetensors").write_text(POINTER)
    assert "00001.safetensors is a git-lfs pointer" in refusal(folder).message


def test_a_head_of_no_size_is_no_head(folder: Path) -> None:
    put(folder, dict(held(folder), **{"lm_head.weight": torch.tensor(1.0)}))
    assert "has no CTC head" in refusal(folder).message


def test_shapes_are_known_without_reading_weights(folder: Path) -> None:
    other = Vocabulary(VOCABULARY.tokens[::-1])
    assert loading.examine_trained(folder).model.lm_head.weight.device.type == "meta"
    recognizer = loading.examine_start(ModelSection(checkpoint=str(folder), head="reinit"), folder, other)
    assert recognizer.vocabulary == other
    assert all(parameter.device.type == "meta" for parameter in recognizer.model.parameters())


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_weights_can_be_read_by_whom_the_users_mask_lets(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        weights.write_tensors(tmp_path / "model.safetensors", {"a": torch.zeros(2)})
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == mode
