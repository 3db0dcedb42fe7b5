"""Small models of many languages (MMS), as transformers' own classes save them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Dict, Optional

TOKENS = ("[PAD]", "[UNK]", "|")
# Written with the letters of tests/helpers/tones.py, in another order and number.
LANGUAGES = {"deu": "abcxyz", "eng": "cba", "azj-script_latin": "abc"}

SIZES = {
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [16] * 7,
    "conv_bias": True,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
    "adapter_attn_dim": 4,
}


def knows_adapters() -> bool:
    """Whether the installed transformers has adapters of languages (from 4.30 on)."""
    from transformers import Wav2Vec2ForCTC

    return hasattr(Wav2Vec2ForCTC, "load_adapter")


def ids(letters: str) -> Dict[str, int]:
    return {token: index for index, token in enumerate((*TOKENS, *letters))}


def save(folder: Path, *, plain: bool = False, seed: int = 7, **changes: Any) -> Path:
    """A base with random weights set to the first language, and `adapter.LANGUAGE.safetensors` for each.

    plain: a model of one language, without adapters. changes: of the configuration.
    """
    import torch
    import transformers
    from safetensors.torch import save_file

    first = next(iter(LANGUAGES))
    nested = {language: ids(letters) for language, letters in LANGUAGES.items()}
    config = transformers.Wav2Vec2Config(**{**SIZES, "vocab_size": len(nested[first]), **changes})
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(nested[first] if plain else nested))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.Wav2Vec2ForCTC(config)
        for language in [] if plain else reversed(list(nested)):  # so that the base holds the first
            model.init_adapter_layers()
            model.lm_head = torch.nn.Linear(config.hidden_size, len(nested[language]))
            with torch.no_grad():
                model.lm_head.weight.mul_(20)
                for name, tensor in model.named_parameters():
                    if "adapter_layer.linear" in name:
                        tensor.normal_(std=0.3)
            adapter = {name: tensor.detach().clone() for name, tensor in model._get_adapters().items()}
            save_file(adapter, str(folder / f"adapter.{language}.safetensors"))
        model.save_pretrained(str(folder))
        named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": None, "eos_token": None}
        named.update({} if plain else {"target_lang": first})
        tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), **named)
        extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
        transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(str(folder))
    return folder


def heard(folder: Path, samples: Any, language: Optional[str] = None) -> str:
    """The transcript of plain transformers, set to a language as its documentation has it."""
    import torch
    import transformers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {} if language is None else {"target_lang": language, "ignore_mismatched_sizes": True}
        model = transformers.Wav2Vec2ForCTC.from_pretrained(str(folder), **options).eval()
        processor = transformers.AutoProcessor.from_pretrained(str(folder))
        if language is not None:
            processor.tokenizer.set_target_lang(language)
            model.load_adapter(language)
        inputs = processor(samples, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            labels = model(**inputs).logits[0].argmax(-1)
        return str(processor.tokenizer.decode(labels))
