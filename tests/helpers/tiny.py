"""Models of a few thousand weights, noise for them to hear, and splits of it as `prepare` makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from asrctl.config.recipe import ModelSection, SpecAugment
from asrctl.data.dataset import PreparedSplit
from asrctl.data.shard_files import PreparedUtterance, write_shard
from asrctl.data.text import TextRules, Vocabulary, build_vocabulary
from asrctl.models import loading

VOCABULARY = build_vocabulary(dict.fromkeys("abcde ", 1), TextRules())
GROUP = {"feat_extract_norm": "group"}
LAYER = {"feat_extract_norm": "layer", "conv_bias": True}
STABLE = {**LAYER, "do_stable_layer_norm": True}
NO_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
# Nothing is left to chance: what a step gives depends on weights and batch alone.
QUIET = {**NO_DROPOUT, "feat_proj_dropout": 0.0, "layerdrop": 0.0}
NO_MASKS = SpecAugment(time_prob=0.0, feature_prob=0.0)


def geometry(width: int = 16, channels: int = 8, **changes: Any) -> Dict[str, Any]:
    """`model.config` of a wav2vec 2.0 with two layers of `width` and seven convolutions of `channels`."""
    return {
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": width,
        "conv_dim": [channels] * 7,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
        **changes,
    }


def tiny_recognizer(
    config: Mapping[str, Any],
    architecture: str = "wav2vec2",
    *,
    vocabulary: Vocabulary = VOCABULARY,
    seed: int = 1,
    **section: Any,
) -> loading.Recognizer:
    """A model with weights as they are drawn. section: keys of the preset's `model`."""
    wanted = ModelSection(architecture=architecture, config=dict(config), **section)
    return loading.build(wanted, vocabulary, seed=seed, sample_rate=16000).recognizer


def noise(*lengths: int, seed: int = 0) -> List[np.ndarray]:
    """int16 noise, a row of each of these numbers of samples."""
    generator = np.random.default_rng(seed)
    return [(generator.standard_normal(length) * 3000).astype(np.int16) for length in lengths]


def write_noise_split(
    folder: Path, count: int, samples: Tuple[int, int], *, most_labels: int = 6, seed: int = 7
) -> PreparedSplit:
    """A prepared split: noise of so many samples (at least, below) with 2 to `most_labels` random labels."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        labels = generator.integers(0, 6, generator.integers(2, most_labels + 1)).astype(np.int32)
        pcm = (generator.standard_normal(generator.integers(*samples)) * 2000).astype(np.int16)
        rows.append(PreparedUtterance(f"u{number}", None, VOCABULARY.decode(labels.tolist()), labels, pcm))
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(folder / "shard-00000.arrow", rows)
    return PreparedSplit(folder, name="train", sample_rate=16000)
