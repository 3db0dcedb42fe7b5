"""Folders as the library saves them, in the many ways that are met on the hub, are read to the same result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from asrctl.data.collate import collate, to_float
from asrctl.errors import BadData
from asrctl.evaluation import decoding
from asrctl.models import ctc, library, loading

from ..helpers.hub_folders import TOKENS, heard, save

# What transformers 4.29 says on current torch, and current transformers of files of old.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
Change = Callable[[Path], None]
OLD = library.version().startswith("4.")


def without(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            if (folder / name).exists():
                (folder / name).unlink()

    return change


def edited(name: str, **values: Any) -> Change:
    """None takes a key out."""

    def change(folder: Path) -> None:
        path = folder / name
        found = {**(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}), **values}
        path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))

    return change


def prefixed(prefix: str, name: str) -> Change:
    """Weights as what wraps a model names them."""

    def change(folder: Path) -> None:
        found: Dict[str, Any] = {}
        for path in [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
            found.update(load_file(str(path)) if path.suffix == ".safetensors" else torch.load(str(path)))
            path.unlink()
        wrapped = {prefix + key: tensor.contiguous() for key, tensor in found.items()}
        if name.endswith(".bin"):
            torch.save(wrapped, str(folder / name))
        else:
            save_file(wrapped, str(folder / name), metadata={"format": "pt"})

    return change


def delimited(token: str) -> Dict[str, int]:
    return {token if key == "|" else key: index for key, index in TOKENS.items()}


SHORT = {"A": 0, "B": 1, "|": 2, "[UNK]": 3, "[PAD]": 4}
NAMED = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
SEW = {"conv_dim": [8] * 3, "conv_kernel": [10, 4, 4], "conv_stride": [8, 8, 5], "squeeze_factor": 2}
# name -> (options of the libraries' own `save_pretrained`, what is done to the folder then).
FOLDERS: Mapping[str, Tuple[Dict[str, Any], Optional[Change]]] = {
    "as it is": ({}, None),
    "tokenizer and extractor apart": ({"processor": False}, None),
    "half precision": ({"dtype": torch.float16}, None),
    "bfloat16": ({"dtype": torch.bfloat16}, None),
    "sharded": ({"saving": {"max_shard_size": "10KB"}}, None),
    "sharded safetensors": ({"saving": {"max_shard_size": "10KB", "safe_serialization": True}}, None),
    "safetensors": ({"saving": {"safe_serialization": True}}, None),
    "an added token": ({"added": ["<hes>"]}, None),
    "added tokens, one of letters": ({"added": ["<hes>", "UH"]}, None),
    "further special tokens": ({"additional_special_tokens": ["<noise>"]}, None),
    "a space between words": ({"tokens": delimited(" "), "word_delimiter_token": " "}, None),
    "no delimiter": ({"tokens": {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "A": 4, "B": 5}}, None),
    "a delimiter of null": ({}, edited("tokenizer_config.json", word_delimiter_token=None)),
    "small letters": ({"do_lower_case": True}, None),
    "spaces cleaned up": ({}, edited("tokenizer_config.json", clean_up_tokenization_spaces=True)),
    "spaces not cleaned up": ({}, edited("tokenizer_config.json", clean_up_tokenization_spaces=False)),
    "the blank last": ({"tokens": SHORT, **NAMED}, None),
    "no sentence marks": ({"tokens": SHORT, **NAMED, "bos_token": None, "eos_token": None}, None),
    "sentence marks without outputs": ({"tokens": SHORT, **NAMED, "config": {"vocab_size": 5}}, None),
    "no class of a tokenizer": ({}, edited("tokenizer_config.json", tokenizer_class=None)),
    "no settings of a tokenizer": ({}, without("tokenizer_config.json")),
    "no map of special tokens": ({}, without("special_tokens_map.json")),
    "another rate, not normalized": ({"extractor": {"sampling_rate": 8000, "do_normalize": False}}, None),
    "keys of older releases": (
        {},
        edited(
            "config.json", mask_channel_length=10, use_cache=True, gradient_checkpointing=True, activation_dropout=0
        ),
    ),
    "HuBERT": ({"model": "Hubert"}, None),
    "WavLM": ({"model": "WavLM"}, None),
    "UniSpeech-SAT": ({"model": "UniSpeechSat"}, None),
    "Conformer": ({"model": "Wav2Vec2Conformer"}, None),
    "SEW": ({"model": "SEW", "config": SEW}, None),
}
# What plain transformers does not load, or loads as something else without a word.
BETTER: Mapping[str, Change] = {
    "torch.compile": prefixed("_orig_mod.", "model.safetensors"),
    "DataParallel": prefixed("module.", "pytorch_model.bin"),
    "a training framework": prefixed("model.", "pytorch_model.bin"),
    "both": prefixed("module._orig_mod.", "pytorch_model.bin"),
}
REFUSED: Mapping[str, Tuple[Dict[str, Any], Change, str]] = {
    "another sign between words": (
        {"replace_word_delimiter_char": "_"},
        lambda folder: None,
        "writes '_' between words",
    ),
    "adapters without weights": ({}, edited("config.json", adapter_attn_dim=4), "do not fit its configuration"),
    "another tokenizer": ({}, edited("tokenizer_config.json", tokenizer_class="WhisperTokenizer"), "WhisperTokenizer"),
}


def speech(rate: int = 16000) -> np.ndarray:
    return (np.random.default_rng(3).standard_normal(rate) * 3000).astype(np.int16)


def ours(folder: Path, pcm: np.ndarray) -> "tuple[torch.Tensor, str]":
    found = loading.load_recognizer(folder)
    logits, frames = ctc.forward(found.model, **collate([pcm], found.features), exact=True)
    return logits[0].detach(), found.vocabulary.decode(decoding.greedy_ids(logits, frames)[0].tolist())


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_read_as_plain_transformers_reads_it(name: str, tmp_path: Path) -> None:
    options, change = FOLDERS[name]
    folder = save(tmp_path / "model", **options)
    if change is not None:
        change(folder)
    expected, text = heard(folder, to_float(speech()))
    logits, written = ours(folder, speech())
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
    assert written == text
    tokenizer, vocabulary = (
        transformers.AutoTokenizer.from_pretrained(str(folder)),
        loading.load_shell(folder).vocabulary,
    )
    if not (folder / "tokenizer_config.json").exists():
        tokenizer.clean_up_tokenization_spaces = False  # generations differ in what silence means; this is today's
    for labels in np.random.default_rng(1).integers(0, len(vocabulary), (20, 60)).tolist():
        assert vocabulary.decode(labels) == tokenizer.decode(labels)


@pytest.mark.parametrize("name", BETTER)
def test_what_wraps_a_model_comes_off_where_plain_transformers_draws_weights(name: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    expected, text = heard(folder, to_float(speech()))
    BETTER[name](folder)
    logits, written = ours(folder, speech())
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert written == text


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_told_why(name: str, tmp_path: Path) -> None:
    options, change, said = REFUSED[name]
    if OLD and name == "adapters without weights":
        pytest.skip("transformers 4.29 knows no such key, and leaves it out")
    folder = save(tmp_path / "model", **options)
    change(folder)
    with pytest.raises(BadData, match=said):
        loading.load_recognizer(folder)


@pytest.mark.parametrize("delimiter", ["▁", "<sp>"])
def test_a_delimiter_of_any_length_is_a_space(delimiter: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", tokens=delimited(delimiter), word_delimiter_token=delimiter)
    # Current transformers takes its own file's delimiter for a special token, and leaves it as it is.
    assert ours(folder, speech())[1] == heard(folder, to_float(speech()))[1].replace(delimiter, " ").strip()


@pytest.mark.skipif(OLD, reason="transformers 4.29 has none of these")
@pytest.mark.parametrize("kind", ["wav2vec2-bert", "parakeet_ctc", "lasr_ctc"])
def test_the_processors_of_models_that_hear_features_are_read(kind: str, tmp_path: Path) -> None:
    from asrctl.config.recipe import ModelSection

    from ..helpers import every_model
    from ..helpers.tiny import VOCABULARY

    section = ModelSection(architecture=kind, config=every_model.config_of(kind))
    made = loading.build(section, VOCABULARY, seed=1, sample_rate=16000).recognizer
    made.model.eval()
    loading.save_recognizer(made, tmp_path)
    expected = ctc.forward(made.model, **collate([speech()], made.features), exact=True)[0][0]
    # As the library saves it: all settings, in the file of this generation.
    extractor = transformers.AutoFeatureExtractor.from_pretrained(str(tmp_path))
    (tmp_path / "preprocessor_config.json").unlink()
    extractor.save_pretrained(str(tmp_path))
    values = json.loads((tmp_path / "preprocessor_config.json").read_text())
    torch.testing.assert_close(ours(tmp_path, speech())[0], expected)
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": values}))
    torch.testing.assert_close(ours(tmp_path, speech())[0], expected)
    values["feature_extractor_type"] = "WhisperFeatureExtractor"
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": values}))
    with pytest.raises(BadData, match="is of a WhisperFeatureExtractor"):
        loading.load_recognizer(tmp_path)
