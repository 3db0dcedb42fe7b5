"""Tiny CTC models, made-up speech, and IPUTrainers over them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List

import numpy as np
import torch

SAMPLES = 4000  # a quarter of a second at 16 kHz: 12 frames
LABELS = 5
LEARNING_RATE = 1e-3

MODELS = {
    "wav2vec2-group": ("Wav2Vec2", {}),
    "wav2vec2-layer": ("Wav2Vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}),
    "hubert-group": ("Hubert", {}),
    "hubert-layer": ("Hubert", {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}),
}


def ctc_model(kind: str = "wav2vec2-group", **changes: Any) -> torch.nn.Module:
    """A model of two encoder layers without dropout; the same weights every time."""
    import transformers

    family, settings = MODELS[kind]
    config = getattr(transformers, f"{family}Config")(
        vocab_size=12,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
        **{
            "num_hidden_layers": 2,
            "hidden_dropout": 0.0,
            "attention_dropout": 0.0,
            "activation_dropout": 0.0,
            "feat_proj_dropout": 0.0,
            "final_dropout": 0.0,
            "layerdrop": 0.0,
            "apply_spec_augment": False,
            **settings,
            **changes,
        },
    )
    torch.manual_seed(1)
    model = getattr(transformers, f"{family}ForCTC")(config)
    model.freeze_feature_encoder()
    return model


class Speech(torch.utils.data.Dataset):
    """Noise of different lengths, padded to SAMPLES, with labels padded to LABELS; the same every time."""

    def __init__(self, size: int, *, dtype: type = np.float32, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.items: List[Dict[str, np.ndarray]] = []
        for _ in range(size):
            length = rng.integers(SAMPLES // 2, SAMPLES + 1)
            mask = (np.arange(SAMPLES) < length).astype(np.int64)
            audio = (rng.standard_normal(SAMPLES) * mask).astype(dtype)
            spoken = rng.integers(2, LABELS + 1)
            labels = np.where(np.arange(LABELS) < spoken, rng.integers(1, 12, LABELS), -100)
            self.items.append({"input_values": audio, "attention_mask": mask, "labels": labels})

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Dict[str, np.ndarray]:
        return self.items[index]


def ipu_config(optimum: ModuleType, **changes: Any) -> Any:
    """Two IPUs: 7 convolutions and the positional embedding on the first, two layers and the head on the second."""
    settings = {"layers_per_ipu": [8, 3], "ipus_per_replica": 2, "gradient_accumulation_steps": 4, **changes}
    return optimum.IPUConfig(**settings)


def trainer(optimum: ModuleType, folder: Path, model: torch.nn.Module, **changes: Any) -> Any:
    """An IPUTrainer in float32. `changes`: `ipu` (settings), `train`, `eval` (data), `base` (a subclass), `callbacks`;
    the rest are training arguments."""
    base = changes.pop("base", optimum.IPUTrainer)
    ipu = changes.pop("ipu", {})
    train, evaluation = changes.pop("train", None), changes.pop("eval", None)
    callbacks = changes.pop("callbacks", None)
    arguments = {
        "output_dir": str(folder),
        "fp32": True,
        "max_steps": 3,
        "learning_rate": LEARNING_RATE,
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "log_level": "error",
        **changes,
    }
    return base(
        model=model,
        ipu_config=ipu_config(optimum, **ipu),
        args=optimum.IPUTrainingArguments(**arguments),
        train_dataset=Speech(16) if train is None else train,
        eval_dataset=Speech(8, seed=9) if evaluation is None else evaluation,
        callbacks=callbacks,
    )
