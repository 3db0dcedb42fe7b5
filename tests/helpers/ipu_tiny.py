"""Recipes, speech and jobs of the IPU backend's tests: two pipeline stages, a model of a few thousand weights."""

from __future__ import annotations

import numpy as np

from asrctl.config.recipe import (
    AudioSection,
    BatchesSection,
    HostSection,
    IpuSection,
    ModelSection,
    OptimSection,
    Recipe,
    RunSection,
)
from asrctl.data.dataset import PreparedSplit, PreparedUtterance, write_shard
from asrctl.data.text import TextRules, build_vocabulary
from asrctl.models import loading
from asrctl.runtime import devices
from asrctl.training.job import StartPoint, TrainingJob

VOCABULARY = build_vocabulary(dict.fromkeys("abcde ", 1), TextRules())
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "layer_norm_eps": 1e-4,
}
QUIET = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"), 0.0
)


def recipe(*, norm="group", model=None, optim=None, run=None, ipu=None, batches=None):
    """The recipe base-4ipu in small, in fp32 and without dropout."""
    config = dict(TINY, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    wanted_model = dict(QUIET, config=config, ctc_zero_infinity=True)
    wanted_optim = {
        "global_batch": 4,
        "learning_rate": 1e-3,
        "warmup_steps": 3,
        "adam_bias_correction": False,
        "adam_betas": (0.9, 0.98),
        "adam_eps": 1e-4,
        "max_grad_norm": None,
        "weight_decay": 0.01,
    }
    wanted_ipu = {
        "layers_per_ipu": (8, 3),
        "ipus_per_replica": 2,
        "inference_device_iterations": 4,
        "precision": "fp32",
        "dataloader_mode": "sync",
        "dataloader_workers": 0,
    }
    return Recipe(
        name="tiny",
        audio=AudioSection(max_s=0.5),
        model=ModelSection(**dict(wanted_model, **(model or {}))),
        optim=OptimSection(**dict(wanted_optim, **(optim or {}))),
        batches=BatchesSection(**dict({"shapes": "static", "drop_last": True, "max_labels": 8}, **(batches or {}))),
        run=RunSection(**dict({"log_every": 1, "eval_every": 100}, **(run or {}))),
        cpu=HostSection(precision="fp32", workers=0),
        ipu=IpuSection(**dict(wanted_ipu, **(ipu or {}))),
    )


def write_split(folder, count=18, seed=7):
    """Noise of 0.2 to 0.5 s with random labels."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        labels = generator.integers(0, 6, generator.integers(2, 6)).astype(np.int32)
        pcm = (generator.standard_normal(generator.integers(3200, 8000)) * 2000).astype(np.int16)
        rows.append(PreparedUtterance(f"u{number}", None, VOCABULARY.decode(labels.tolist()), labels, pcm))
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(folder / "shard-00000.arrow", rows)
    return PreparedSplit(folder, name="train", sample_rate=16000)


def job(wanted, split, folder, *, steps, kind="ipu-emulated", evaluation=None, resume=None, **more):
    """(job, start point) of a training. resume: the checkpoint to go on from."""
    folder.mkdir(parents=True, exist_ok=True)
    recognizer = loading.build(wanted.model, VOCABULARY, seed=3, sample_rate=16000).recognizer
    precision = wanted.ipu.precision if kind == "ipu-emulated" else "fp32"
    cache, device = folder.parent / "cache", devices.choose(kind)
    made = TrainingJob(wanted, folder, split, evaluation, device, precision, steps, cache=cache, **more)
    return made, StartPoint(recognizer, resume)
