"""A preset for prepared data, by hours of speech, language and device, with the reasons.

What memory a model takes is counted, as asrctl.models.packed.memory_estimate does, from its published size: 4 bytes for
each weight, 12 more for each that learns, and what the longest utterance leaves for the backward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from asrctl.commands import select
from asrctl.commands.train import plan
from asrctl.commands.train_request import TrainPlan, TrainRequest
from asrctl.config import languages, presets
from asrctl.errors import AsrctlError, MissingArtifact, UsageError
from asrctl.models import hf_config, library, lora
from asrctl.runtime import devices
from asrctl.storage.workspace import Workspace

SCRATCH = "tiny-cpu"
# Below this many hours few weights should learn, as huggingface.co/blog/mms_adapters recommends.
FEW_HOURS = 10.0
# Passes over the data from which on more of them teach nothing new: the most of the published recipes.
_MOST_EPOCHS = 50
_LARGE = 0.065  # GB that 24 layers of width 1024 keep for a second of speech, in bf16
_RECOMPUTED = 1 / 8
_SPARE = 1.15


@dataclass(frozen=True)
class Candidate:
    """A preset of a pretrained model. weights, learning: in millions. gb_per_s: of speech, for the backward pass.

    needs: the model type that the installed transformers must have. english: whether that is all it has heard.
    """

    preset: str
    weights: float
    learning: float
    gb_per_s: float
    needs: str = "wav2vec2"
    english: bool = False

    def gb(self, longest_s: float, *, recomputed: bool) -> float:
        held = (4 * self.weights + 12 * self.learning) * 1e6 / 1e9
        return _SPARE * held + self.gb_per_s * longest_s * (_RECOMPUTED if recomputed else 1)


# From the best that there is for its case to the smallest.
PIECES = Candidate("parakeet-ctc", 1060, 1060, 0.06, "parakeet_ctc", english=True)
ENGLISH = (
    Candidate("wavlm-large", 315, 311, 2 * _LARGE, "wavlm", english=True),
    Candidate("hubert-large", 316, 312, _LARGE, "hubert", english=True),
)
ADAPTER = Candidate("mms-1b-adapter", 965, 2.5, 2.5 * _LARGE)
MUCH = (Candidate("w2v-bert-2", 580, 580, 2 * _LARGE, "wav2vec2-bert"),)
ANY = (Candidate("xlsr-300m", 315, 311, _LARGE), Candidate("lora-xlsr", 318, 3.2, _LARGE))


@dataclass(frozen=True)
class Facts:
    """What decides. language: as the user or the data says it. gpu_gb: memory of the GPU; None where there is none."""

    hours: float
    longest_s: float
    sample_rate: int
    language: Optional[str]
    gpu_gb: Optional[float]
    pieces: bool = False


@dataclass(frozen=True)
class Suggestion:
    """overrides: KEY=VALUE to --set. reasons: one sentence each. needs_gb: of the device, about."""

    preset: str
    data: str
    overrides: Tuple[str, ...]
    reasons: Tuple[str, ...]
    facts: Facts
    needs_gb: Optional[float]
    command: str

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__, facts=dict(self.facts.__dict__))


def suggest(workspace: Workspace, data: Optional[str], language: Optional[str], gpu_gb: Optional[float]) -> Suggestion:
    """Raises UsageError, MissingArtifact, and PresetError where no preset fits the data.

    gpu_gb: plan for a GPU with so much memory, here or elsewhere; default: what is here.
    """
    name, prepared = select.latest_data(workspace) if data is None else (data, select.named_data(workspace, data))
    if "train" not in prepared.splits:
        raise MissingArtifact(f"data {name} has no split for training", fix="name other data with --data")
    split, summary = prepared.split("train"), prepared.summary
    facts = Facts(
        hours=split.seconds / 3600,
        longest_s=float(split.num_samples.max(initial=0)) / split.sample_rate,
        sample_rate=summary.sample_rate,
        language=_code(language or summary.text.get("language")),
        gpu_gb=_gpu_gb() if gpu_gb is None else gpu_gb,
        pieces=prepared.vocabulary().subwords is not None,
    )
    reasons = [_known(facts)]
    for candidate in candidates(facts, reasons):
        overrides = _overrides(candidate, facts)
        try:
            planned = _planned(workspace, candidate.preset, name, overrides)
            overrides += _paced(planned)
            _planned(workspace, candidate.preset, name, overrides)
        except AsrctlError as error:
            reasons.append(f"not {candidate.preset}: {error.message}")
            continue
        return _made(workspace, candidate, name, facts, overrides, reasons)
    _planned(workspace, SCRATCH, name, ())
    reasons.append(f"{SCRATCH}: a small model from nothing, enough for a small vocabulary and voices that it has heard")
    return _made(workspace, None, name, facts, (), reasons)


def _code(language: Optional[str]) -> Optional[str]:
    if language is None:
        return None
    try:
        languages.canonical(language)
    except ValueError as error:
        raise UsageError(str(error), fix="give --language a code such as tr or tur") from None
    return language


def _gpu_gb() -> Optional[float]:
    if not devices.cuda_available():
        return None
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory / 1e9)


def _known(facts: Facts) -> str:
    hours = f"{facts.hours:.2g}" if facts.hours < 10 else f"{facts.hours:.0f}"
    language = f"in {facts.language}" if facts.language else "in a language that nobody has named (--language)"
    device = "no GPU" if facts.gpu_gb is None else f"a GPU with {facts.gpu_gb:.0f} GB"
    return f"{hours} h of speech for training, {language}; {device}"


# -- which one -------------------------------------------------------------------------------------------------------


def candidates(facts: Facts, reasons: List[str]) -> List[Candidate]:
    """Those that fit, the best first; `reasons` is told why, and why not others."""
    if facts.gpu_gb is None:
        reasons.append("no pretrained model: without a GPU one takes days (--gpu-gb N plans for another machine)")
        return []
    if facts.sample_rate != 16000:
        reasons.append(
            f"no pretrained model: all hear 16000 samples per second, and the data has {facts.sample_rate} "
            "(prepare it again with --sample-rate 16000)"
        )
        return []
    found = []
    for candidate in _wanted(facts, reasons):
        problem = _problem(candidate, facts)
        if problem is None:
            found.append(candidate)
        else:
            reasons.append(f"not {candidate.preset}: {problem}")
    return found


def _wanted(facts: Facts, reasons: List[str]) -> Sequence[Candidate]:
    """By vocabulary, language and hours."""
    if facts.pieces:
        reasons.append("the vocabulary is of pieces of words, which a checkpoint must have learned already")
        return (PIECES,)
    if _is_english(facts):
        reasons.append("models that have heard English alone know it best")
        return (*ENGLISH, *ANY)
    if facts.hours >= FEW_HOURS:
        reasons.append(f"with {FEW_HOURS:g} h or more all weights can learn, and the model that has heard most is best")
        return (*MUCH, *ANY)
    reasons.append(f"with less than {FEW_HOURS:g} h few weights should learn")
    if facts.language is None or len(facts.language) != 3:
        reasons.append("not mms-1b-adapter: it needs a code of three letters (ISO 639-3), such as --language tur")
        return ANY
    return (ADAPTER, *ANY)


def _is_english(facts: Facts) -> bool:
    return (facts.language or "").lower().replace("_", "-").split("-")[0] in ("en", "eng")


def _problem(candidate: Candidate, facts: Facts) -> Optional[str]:
    if not library.has_model(candidate.needs):
        return f"transformers {library.version()}, which is installed, has no such model"
    if candidate is ADAPTER and hf_config.ADAPTERS not in hf_config.known_keys("wav2vec2"):
        return f"transformers {library.version()}, which is installed, has no adapters"
    if candidate.preset.startswith("lora"):
        try:
            lora.require()
        except AsrctlError as error:
            return error.message
    least = candidate.gb(facts.longest_s, recomputed=True)
    if least > (facts.gpu_gb or 0.0):
        return f"it takes about {least:.0f} GB"
    return None


# -- how -------------------------------------------------------------------------------------------------------------


def _overrides(candidate: Candidate, facts: Facts) -> Tuple[str, ...]:
    """What the device, the data and the language ask for."""
    found = []
    recipe = presets.load(candidate.preset).recipe
    if candidate.gb(facts.longest_s, recomputed=False) > (facts.gpu_gb or 0.0):
        found.append("cuda.gradient_checkpointing=true")
    if facts.longest_s > recipe.audio.max_s:
        found.append(f"audio.max_s={math.ceil(facts.longest_s)}")
    if candidate is ADAPTER:
        found.append(f"model.language={facts.language}")
    return tuple(found)


def _paced(planned: TrainPlan) -> Tuple[str, ...]:
    """Fewer steps where the published ones are many passes over this data, and a warm-up that they leave room for."""
    optim, per_epoch = planned.recipe.optim, planned.job.batches.steps_per_epoch
    steps = min(planned.job.total_steps, _MOST_EPOCHS * per_epoch)
    found = [] if steps == planned.job.total_steps else [f"optim.max_steps={steps}"]
    if optim.warmup_steps * 2 > steps:
        found += ["optim.warmup_steps=0", "optim.warmup_share=0.1"]
    return tuple(found)


def _planned(workspace: Workspace, preset: str, data: str, overrides: Tuple[str, ...]) -> TrainPlan:
    """What `train` would do, as far as it can be told here. Raises what it raises."""
    return plan(workspace, TrainRequest(preset=preset, data=data, device="cpu", overrides=overrides))


_WHY = {
    "cuda.gradient_checkpointing": "so that it fits into the GPU's memory",
    "audio.max_s": "as the longest utterance asks for",
    "model.language": "if MMS has no adapter of it, `train` lists those that it has",
    "optim.max_steps": f"no more than {_MOST_EPOCHS} passes over the data",
    "optim.warmup_steps": "the published warm-up is longer than half of these steps",
}


def _made(
    workspace: Workspace,
    candidate: Optional[Candidate],
    data: str,
    facts: Facts,
    overrides: Tuple[str, ...],
    reasons: List[str],
) -> Suggestion:
    preset = SCRATCH if candidate is None else candidate.preset
    needs = None
    if candidate is not None:
        needs = candidate.gb(facts.longest_s, recomputed="cuda.gradient_checkpointing=true" in overrides)
        reasons.append(f"{preset} takes about {needs:.0f} GB and more, up to what there is, for larger micro-batches")
    for override in overrides:
        why = _WHY.get(override.partition("=")[0])
        if why is not None:
            reasons.append(f"{override}: {why}")
    words = [word for override in overrides for word in ("--set", override)]
    command = workspace.command("train", "--preset", preset, "--data", data, *words)
    return Suggestion(preset, data, overrides, tuple(reasons), facts, needs, command)
