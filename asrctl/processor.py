"""The JSON files of a Hugging Face processor (tokenizer and feature extractor), read and written as plain JSON.

Both library generations read what is written here; nothing of a checkpoint's own code is ever run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Tuple

from asrctl import files
from asrctl.errors import BadData
from asrctl.features import FeatureRules
from asrctl.text import Vocabulary, tokens_by_id

TOKENIZER_CLASS = "Wav2Vec2CTCTokenizer"
_FIX = "choose a folder that holds a complete CTC checkpoint (config.json, weights, vocab.json)"


def write(folder: Path, vocabulary: Vocabulary, rules: FeatureRules) -> None:
    """vocab.json, special_tokens.json, tokenizer_config.json, special_tokens_map.json, preprocessor_config.json."""
    vocabulary.save(folder)
    special = {"pad_token": vocabulary.pad, "unk_token": vocabulary.unk}
    tokenizer = dict(
        special,
        tokenizer_class=TOKENIZER_CLASS,
        word_delimiter_token=vocabulary.word_delimiter,
        # No sentence marks: the library would invent ids beyond the logits for them (transformers issue 15392).
        bos_token=None,
        eos_token=None,
        do_lower_case=False,
        replace_word_delimiter_char=" ",
        clean_up_tokenization_spaces=False,
    )
    files.write_json(folder / "tokenizer_config.json", tokenizer)
    files.write_json(folder / "special_tokens_map.json", special)
    files.write_json(
        folder / "preprocessor_config.json",
        {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "processor_class": "Wav2Vec2Processor",
            "feature_size": 1,
            "sampling_rate": rules.sample_rate,
            "padding_value": 0.0,
            "padding_side": "right",
            "do_normalize": rules.normalise,
            "return_attention_mask": rules.use_mask,
        },
    )


def read_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary of a checkpoint folder, ours or any tokenizer's. Raises BadData."""
    if (folder / "special_tokens.json").exists():
        return Vocabulary.load(folder)
    ids = files.read_json(folder / "vocab.json", fix=_FIX)
    config: Dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).exists():
            found = files.read_json(folder / name, fix=_FIX)
            config.update(found if isinstance(found, dict) else {})
    if isinstance(ids, dict) and ids and all(isinstance(value, dict) for value in ids.values()):
        raise BadData(
            f"{folder / 'vocab.json'} holds one vocabulary per language", fix="write out the one you need first"
        )
    tokens = tokens_by_id(ids, folder / "vocab.json")
    unk, pad = (
        _token(config, key, default, tokens) for key, default in (("unk_token", "[UNK]"), ("pad_token", "[PAD]"))
    )
    return Vocabulary(tokens, _token(config, "word_delimiter_token", "|", tokens), unk, pad)


def _token(config: Dict[str, Any], key: str, default: str, tokens: Tuple[str, ...]) -> str:
    value = config.get(key)
    # Older tokenizers store special tokens as objects.
    value = value.get("content") if isinstance(value, dict) else value
    if isinstance(value, str) and value:
        return value
    angled = "<" + default.strip("[]").lower() + ">"
    return default if default in tokens else angled if angled in tokens else default


def read_features(folder: Path, *, layer_norm: bool) -> FeatureRules:
    """The feature rules of a checkpoint folder; where it has none, those usual for its kind of encoder."""
    path = folder / "preprocessor_config.json"
    if not path.exists():
        return FeatureRules(use_mask=layer_norm)
    values = files.read_json(path, fix=_FIX)
    if not isinstance(values, dict):
        raise BadData(f"{path} holds no settings", fix=_FIX)
    rate = values.get("sampling_rate", 16000)
    if not isinstance(rate, int) or not 4000 <= rate <= 48000:
        raise BadData(f"{path} has a sampling_rate of {rate!r}", fix=_FIX)
    return FeatureRules(
        rate, bool(values.get("do_normalize", True)), bool(values.get("return_attention_mask", layer_norm))
    )
