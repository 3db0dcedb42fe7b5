"""Folders of CTC models as the installed transformers saves them, in the many ways that are met on the hub."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Optional

TOKENS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6, "'": 7, "CH": 8}
Change = Callable[[Path], None]


def save(folder: Path, *, model: str = "Wav2Vec2", tokens: Optional[Dict[str, int]] = None, **options: Any) -> Path:
    """A small model with random weights, its tokenizer and its feature extractor, each saved by `save_pretrained`.

    options: of the tokenizer; added: tokens added to it; dtype: of the weights; saving: options of the model's
    `save_pretrained`; config: of the model; processor: saved as one; extractor: options of the feature extractor.
    """
    import torch
    import transformers

    added, dtype, saving = options.pop("added", ()), options.pop("dtype", None), options.pop("saving", {})
    config, as_one = options.pop("config", {}), options.pop("processor", True)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True, **options.pop("extractor", {}))
    folder.mkdir(parents=True)
    vocabulary = folder.with_suffix(".json")
    vocabulary.write_text(json.dumps(tokens or TOKENS), encoding="utf-8")
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(vocabulary), **options)
    for token in added:
        tokenizer.add_tokens([token])
    made = getattr(transformers, f"{model}Config")(
        **{**SIZES, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **config}
    )
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = getattr(transformers, f"{model}ForCTC")(made)
        with torch.no_grad():
            net.lm_head.weight.mul_(40)
        (net.to(dtype) if dtype is not None else net).save_pretrained(str(folder), **saving)
        if as_one:
            transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(
                str(folder)
            )
        else:
            tokenizer.save_pretrained(str(folder))
            extractor.save_pretrained(str(folder))
    vocabulary.unlink()
    return folder


SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}


def heard(folder: Path, samples: Any, rate: int = 16000) -> "tuple[Any, str]":
    """Logits (frames, vocabulary) and transcript of plain transformers."""
    import torch
    import transformers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForCTC.from_pretrained(str(folder)).float().eval()
        extractor = transformers.AutoFeatureExtractor.from_pretrained(str(folder))
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
        inputs = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0]
    return logits, tokenizer.decode(logits.argmax(-1))
