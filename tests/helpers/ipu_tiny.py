"""Recipes, speech and jobs of the IPU backend's tests: two pipeline stages, a model of a few thousand weights."""

from __future__ import annotations

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
from asrctl.models import loading
from asrctl.runtime import devices
from asrctl.training.job import StartPoint, TrainingJob

from .tiny import QUIET, VOCABULARY, geometry, write_noise_split

TINY = geometry(layer_norm_eps=1e-4)

# An `ipu` section that places TINY: convolutions and the position embedding on one, the rest on the other.
TWO_IPUS = {
    "layers_per_ipu": [8, 3],
    "ipus_per_replica": 2,
    "inference_device_iterations": 2,
    "precision": "fp32",
    "dataloader_workers": 0,
}


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
    wanted_ipu = dict(TWO_IPUS, layers_per_ipu=(8, 3), inference_device_iterations=4, dataloader_mode="sync")
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
    return write_noise_split(folder, count, (3200, 8000), most_labels=5, seed=seed)


def job(wanted, split, folder, *, steps, kind="ipu-emulated", evaluation=None, resume=None, **more):
    """(job, start point) of a training. resume: the checkpoint to go on from."""
    folder.mkdir(parents=True, exist_ok=True)
    recognizer = loading.build(wanted.model, VOCABULARY, seed=3, sample_rate=16000).recognizer
    precision = wanted.ipu.precision if kind == "ipu-emulated" else "fp32"
    cache, device = folder.parent / "cache", devices.choose(kind)
    made = TrainingJob(wanted, folder, split, evaluation, device, precision, steps, cache=cache, **more)
    return made, StartPoint(recognizer, resume)
