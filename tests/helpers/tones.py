"""A spoken language that a tiny model learns in seconds: every letter is a tone, the space is silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import yaml

from .program import run_here

RATE = 16000
# Three letters far apart; the others, which nobody has to learn, a musical whole tone from each other.
_TONE_HZ = {"a": 500.0, "b": 1100.0, "c": 2300.0}
_TONE_HZ.update({letter: 220.0 * 2 ** (place / 6) for place, letter in enumerate("defghijklmnopqrstuvwxyz")})
_LETTER_S, _PAUSE_S = 0.12, 0.06

PRESET = {
    "name": "tones",
    "model": {
        "freeze_feature_encoder": False,
        "ctc_zero_infinity": True,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "blank_bias": -1.0,
        "config": {
            "hidden_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "conv_dim": [16, 16, 16, 16, 16],
            "conv_kernel": [16, 8, 4, 4, 4],
            "conv_stride": [8, 5, 4, 2, 1],
            "feat_extract_norm": "layer",
            "do_stable_layer_norm": True,
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
        },
    },
    "optim": {"global_batch": 8, "learning_rate": 5.0e-3, "epochs": 10, "warmup_steps": 10, "seed": 2},
    "cpu": {"precision": "fp32"},
}


def sound(
    text: str, generator: np.random.Generator, *, letter_s: float = _LETTER_S, pause_s: float = _PAUSE_S
) -> np.ndarray:
    """(time,) float32: tones at a random loudness, a pause after each, a little noise over all."""
    parts = []
    for letter in text:
        time = np.arange(int(letter_s * RATE)) / RATE
        parts.append(np.sin(2 * np.pi * _TONE_HZ[letter] * time) if letter in _TONE_HZ else np.zeros(len(time)))
        parts.append(np.zeros(int(pause_s * RATE)))
    samples = np.concatenate(parts) * generator.uniform(0.2, 0.8)
    return (samples + generator.normal(0, 0.003, len(samples))).astype(np.float32)


def write_corpus(folder: Path, *, train: int = 96, held_out: int = 12, seed: int = 1) -> Path:
    """A manifest with the splits train and eval. The last recording is not what its transcript says."""
    generator = np.random.default_rng(seed)
    rows = ["path,text,split"]
    folder.mkdir(parents=True)
    for number in range(train + held_out):
        words = ["".join(generator.choice(list("abc"), generator.integers(1, 4))) for _ in range(1 + number % 4)]
        text = " ".join(words)
        spoken = text.translate(str.maketrans("abc", "bca")) if number == train + held_out - 1 else text
        soundfile.write(str(folder / f"{number:03d}.wav"), sound(spoken, generator), RATE)
        rows.append(f"{number:03d}.wav,{text},{'train' if number < train else 'eval'}")
    manifest = folder / "tones.csv"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


def prepare(folder: Path) -> Path:
    """A workspace below `folder` in which the tones are prepared, with `folder`/tones.yaml as the preset."""
    preset, workspace = folder / "tones.yaml", folder / "workspace"
    preset.write_text(yaml.safe_dump(PRESET), encoding="utf-8")
    manifest = write_corpus(folder / "corpus")
    words = ("prepare", "manifest", manifest, "--name", "tones", "--preset", preset)
    run_here(*words, "--workspace", workspace).succeeded()
    return workspace


def train(folder: Path, *options: object) -> None:
    words = ("train", "--preset", folder / "tones.yaml", "--device", "cpu", *options)
    run_here(*words, "--workspace", folder / "workspace").succeeded()
