"""Values of a recipe that are fine alone and do not fit together, and names that can not be what they have to be.

What concerns every device is apart from what only an IPU asks for: a preset with an `ipu` section trains on a CPU, too.
"""

from __future__ import annotations

import re
from typing import List, Tuple

from asrctl.config import languages, model_config
from asrctl.config.recipe import Augment, IpuSection, ModelSection, Recipe, TextSection
from asrctl.errors import UsageError
from asrctl.messages import amounts
from asrctl.storage.names import valid_name

# (key path, sentence that goes on from it)
Found = List[Tuple[str, str]]


def cross_checks(recipe: Recipe) -> Found:
    """What is wrong on any device."""
    found = _names(recipe) + _text(recipe.text)
    if recipe.audio.min_s >= recipe.audio.max_s:
        found.append(("audio.min_s", f"is {recipe.audio.min_s:g}, not below audio.max_s ({recipe.audio.max_s:g})"))
    if len(recipe.optim.adam_betas) != 2:
        found.append(("optim.adam_betas", "must be two numbers from 0 to below 1"))
    if len(recipe.optim.tri_stage) != 3 or abs(sum(recipe.optim.tri_stage) - 1) > 1e-6:
        found.append(("optim.tri_stage", "must be three shares that add up to 1"))
    if recipe.batches.augment.speed and not recipe.model.ctc_zero_infinity:
        found.append(("model.ctc_zero_infinity", "must be true when batches.augment.speed shortens utterances"))
    if recipe.optim.warmup_steps and recipe.optim.warmup_share:
        found.append(("optim.warmup_share", "and optim.warmup_steps exclude each other; set one of them to 0"))
    if recipe.batches.shapes == "static" and recipe.optim.global_batch_s is not None:
        found.append(("optim.global_batch_s", "needs `batches.shapes: free`; static batches count utterances"))
    if recipe.batches.shapes == "static" and recipe.batches.augment.changes_lengths:
        found.append(("batches.augment", "changes lengths by speed or join, which needs `batches.shapes: free`"))
    found += _augment(recipe.batches.augment)
    if recipe.ipu is None and recipe.optim.optimizer == "lamb":
        found.append(("optim.optimizer", "is lamb, which needs an `ipu` section; use adamw"))
    model = model_config.problems(
        recipe.model.config,
        from_scratch=recipe.model.checkpoint is None,
        architecture=recipe.model.architecture,
    )
    return found + [(f"model.config.{key}".rstrip("."), sentence) for key, sentence in model]


def _augment(rules: Augment) -> Found:
    found: Found = []
    if rules.noise_files is not None and rules.noise_snr_db is None:
        found.append(("batches.augment.noise_files", "needs batches.augment.noise_snr_db, such as 5"))
    if rules.reverb_files is not None and not rules.reverb_share:
        found.append(("batches.augment.reverb_files", "needs batches.augment.reverb_share, such as 0.5"))
    if rules.codec_share and not rules.codecs:
        found.append(("batches.augment.codecs", "must name at least one"))
    return found


def _names(recipe: Recipe) -> Found:
    """Names that become part of a path."""
    found: Found = []
    try:
        valid_name(recipe.name)
    except UsageError as error:
        found.append(("name", f"is {recipe.name!r}, and a run is called by it; {error.fix}"))
    if recipe.model.checkpoint is not None and not recipe.model.checkpoint.strip():
        found.append(("model.checkpoint", "is empty; null means none"))
    revision = recipe.model.revision
    if revision is not None and (not re.fullmatch(r"\w[\w./+-]*", revision) or ".." in revision):
        found.append(("model.revision", f"is {revision!r}, not the name of a branch, a tag or a commit"))
    return found + _languages(recipe.model)


def _languages(model: ModelSection) -> Found:
    found: Found = []
    for key in ("language", "language_from"):
        value = getattr(model, key)
        if value is not None and not re.fullmatch(r"[A-Za-z0-9]+([_-][A-Za-z0-9]+)*", value):
            found.append((f"model.{key}", f"is {value!r}, not the code of a language, such as deu or azj-script_latin"))
    if model.language is not None and model.checkpoint is None:
        found.append(("model.language", "needs model.checkpoint, a model of many languages (facebook/mms-1b-all)"))
    if model.language_from is not None and model.language is None:
        found.append(("model.language_from", "needs model.language, the language that is trained"))
    return found + _lora(model)


def _lora(model: ModelSection) -> Found:
    found: Found = []
    if model.lora.rank and model.checkpoint is None:
        found.append(("model.lora", "needs model.checkpoint, the model beside whose weights it learns"))
    if model.lora.rank and model.language is not None:
        found.append(("model.lora", "and model.language exclude each other; set model.lora.rank to 0"))
    if (model.lora.rank or model.language is not None) and not model.freeze_feature_encoder:
        found.append(("model.freeze_feature_encoder", "must be true where model.lora or model.language is set"))
    if model.lora.base == "int8" and model.lora.variant == "dora":
        found.append(("model.lora.base", "is int8, of whose matrices dora takes no lengths; use fp32 or bf16"))
    found += [("model.lora.targets", "holds an empty name") for target in model.lora.targets if not target.strip()]
    return found


def _text(text: TextSection) -> Found:
    found: Found = []
    if len(text.word_delimiter) != 1 or text.word_delimiter.isspace():
        found.append(("text.word_delimiter", f"is {text.word_delimiter!r}, not one visible character, such as |"))
    found.extend((f"text.{name}", "is empty") for name in ("unk", "pad") if not getattr(text, name))
    if len({text.word_delimiter, text.unk, text.pad}) != 3:
        found.append(("text.pad", "must differ from text.unk and text.word_delimiter"))
    try:
        languages.canonical(text.language or "en")
    except ValueError as error:
        found.append(("text.language", f"is wrong: {error}"))
    if not text.vocab_splits:
        found.append(("text.vocab_splits", "must name at least one split"))
    return found


# -- on an IPU, real or emulated --------------------------------------------------------------------------------------


def ipu_checks(recipe: Recipe) -> Found:
    """What is wrong with the `ipu` section and the batch for it, and of no concern to other devices."""
    ipu = recipe.ipu
    if ipu is None:
        return []
    if not ipu.layers_per_ipu:
        return [("ipu.layers_per_ipu", "must list the layers of each IPU, such as [9, 4, 4, 4], or be [-1]")]
    found: Found = []
    # As IPUConfig: one wildcard alone stands for all IPUs.
    if len(ipu.layers_per_ipu) != ipu.ipus_per_replica and ipu.layers_per_ipu != (-1,):
        found.append(
            (
                "ipu.layers_per_ipu",
                f"has {amounts.count(len(ipu.layers_per_ipu), 'entry', 'entries')} for {ipu.ipus_per_replica} IPUs "
                "per replica",
            )
        )
    if len(ipu.matmul_proportion) not in (0, ipu.ipus_per_replica):
        found.append(("ipu.matmul_proportion", f"needs one number for each of the {ipu.ipus_per_replica} IPUs"))
    per_micro = ipu.micro_batch * ipu.replication
    if recipe.optim.global_batch % per_micro:
        found.append(
            (
                "optim.global_batch",
                f"is {recipe.optim.global_batch}, not a multiple of ipu.micro_batch x ipu.replication = {per_micro}",
            )
        )
    return found + _pipeline_depth(recipe, ipu, per_micro)


def _pipeline_depth(recipe: Recipe, ipu: IpuSection, per_micro: int) -> Found:
    stages = ipu.ipus_per_replica
    found: Found = []
    need = pipeline_minimum(stages)
    if recipe.optim.global_batch // per_micro < need:
        found.append(
            (
                "optim.global_batch",
                f"is {recipe.optim.global_batch}; a pipeline over {stages} IPUs needs {need} micro-batches of"
                f" {per_micro} per step, so the smallest legal value is {need * per_micro}",
            )
        )
    if stages > 1 and ipu.inference_device_iterations < stages:
        found.append(("ipu.inference_device_iterations", f"must be at least {stages}, one micro-batch for each IPU"))
    return found


def pipeline_minimum(ipus_per_replica: int) -> int:
    """Micro-batches a pipelined training step needs: 2 x stages - 1 (poptorch's rule), 1 without a pipeline."""
    return 2 * ipus_per_replica - 1 if ipus_per_replica > 1 else 1
