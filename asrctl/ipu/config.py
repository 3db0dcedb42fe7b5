"""recipe -> the settings of optimum-graphcore, and what an IPU can not do, as sentences. Pure: nothing is imported.

Every value has one place: batch sizes, memory and placement go into IPUConfig, the rest into IPUTrainingArguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from asrctl.config.recipe import IpuSection, Recipe, SpecAugment
from asrctl.config.recipe_checks import ipu_checks
from asrctl.errors import PresetError
from asrctl.ipu.plan import placement
from asrctl.messages import amounts

# Architectures that optimum-graphcore 0.7.1 has a pipelined CTC model of.
PIPELINED = ("wav2vec2", "hubert")
# Its LAMB takes these whatever the arguments say.
LAMB_BETAS = (0.9, 0.999)
_CONV_LAYERS, _TRANSFORMER_LAYERS = 7, 12


@dataclass(frozen=True)
class ModelFacts:
    """What placement needs to know of a model's configuration."""

    model_type: str
    conv_layers: int
    transformer_layers: int
    gradient_checkpointing: bool = False

    @property
    def layers(self) -> int:
        """Convolutions, the positional embedding, transformer layers, the head: what layers_per_ipu counts."""
        return self.conv_layers + 1 + self.transformer_layers + 1


def model_facts(recipe: Recipe, checkpoint_config: Mapping[str, Any]) -> ModelFacts:
    """checkpoint_config: the values of the checkpoint's config.json, empty for a model from scratch."""
    values = dict(checkpoint_config, **recipe.model.config)
    return ModelFacts(
        model_type=str(values.get("model_type", recipe.model.architecture)),
        conv_layers=len(values.get("conv_dim") or (0,) * _CONV_LAYERS),
        transformer_layers=int(values.get("num_hidden_layers", _TRANSFORMER_LAYERS)),
        gradient_checkpointing=bool(values.get("gradient_checkpointing")),
    )


# -- what can not be done ---------------------------------------------------------------------------------------------


def refuse(recipe: Recipe, facts: ModelFacts) -> None:
    """Raises PresetError for all that the recipe asks of an IPU, emulated or not, and it can not do, with fixes."""
    problems = unsupported(recipe, facts)
    if problems:
        raise PresetError(
            f"an IPU can not carry out preset {recipe.name}",
            fix="change the keys named, or train with `--device cpu` or cuda",
            problems=problems,
        )


def section(recipe: Recipe) -> IpuSection:
    """The recipe's `ipu` section. Raises PresetError where it has none."""
    if recipe.ipu is None:
        raise PresetError(
            f"preset {recipe.name} has no `ipu` section",
            fix="choose one that has (`--preset base-4ipu`), or use `--device cpu`",
        )
    return recipe.ipu


def unsupported(recipe: Recipe, facts: ModelFacts) -> List[str]:
    """One sentence for each thing that an IPU can not do, with its fix; empty where all is well."""
    ipu = section(recipe)
    found = [f"{key} {sentence}" for key, sentence in ipu_checks(recipe)]
    return found + _model_problems(recipe, facts) + _training_problems(recipe) + _layer_problems(ipu, facts)


def _model_problems(recipe: Recipe, facts: ModelFacts) -> List[str]:
    found = []
    if facts.model_type not in PIPELINED:
        found.append(
            f"model.architecture is {facts.model_type}, which has no pipelined version; use {' or '.join(PIPELINED)}"
        )
    masks = recipe.model.spec_augment
    if masks.time_prob > 0 or masks.feature_prob > 0:
        found.append(
            f"model.spec_augment is on, and its masks have no static shape; set model.spec_augment.time_prob="
            f"{SpecAugment().time_prob:g} and model.spec_augment.feature_prob={SpecAugment().feature_prob:g}"
        )
    if not recipe.model.freeze_feature_encoder:
        found.append("model.freeze_feature_encoder is false, but the pipelined models always freeze it; set it to true")
    found += _learning_problems(recipe)
    if facts.gradient_checkpointing:
        found.append(
            "model.config.gradient_checkpointing is on; set it to false, and ipu.recompute_checkpoint_every_layer=true"
        )
    return found


def _learning_problems(recipe: Recipe) -> List[str]:
    """Of which weights learn: the program on the device is compiled once, for one set of them and one rate."""
    model, optim = recipe.model, recipe.optim
    found = []
    if model.freeze or model.freeze_layers:
        found.append(
            "model.freeze and model.freeze_layers name weights that do not learn, but the pipelined models freeze "
            "their convolutions and no more; set model.freeze=[] and model.freeze_layers=0"
        )
    if model.language is not None:
        found.append("model.language is set, but the pipelined models have no adapters; set model.language=null")
    if model.lora.rank:
        found.append("model.lora is on, but the pipelined models have no such layers; set model.lora.rank=0")
    if optim.layer_decay != 1:
        found.append(
            f"optim.layer_decay is {optim.layer_decay:g}, but IPUTrainer has one learning rate; set optim.layer_decay=1"
        )
    if optim.head_only_steps or optim.unfreeze_every:
        found.append(
            "optim.head_only_steps and optim.unfreeze_every change which weights learn during the run, but the program "
            "is compiled once; set both to 0"
        )
    if optim.ema_decay is not None:
        found.append(
            "optim.ema_decay is set, but an IPU keeps its weights to itself between checkpoints; set "
            "optim.ema_decay=null"
        )
    return found


def _training_problems(recipe: Recipe) -> List[str]:
    found, optim, ipu = [], recipe.optim, section(recipe)
    if recipe.batches.shapes != "static":
        found.append("batches.shapes is free, but an IPU has static shapes; set batches.shapes=static")
    if recipe.batches.augment.changes_lengths:
        found.append("batches.augment changes the audio's lengths; leave out speed and join")
    if not recipe.batches.drop_last:
        found.append("batches.drop_last is false, but a step always takes a whole batch; set batches.drop_last=true")
    if optim.max_grad_norm is not None:
        found.append("optim.max_grad_norm is set, but IPUTrainer does not clip; set optim.max_grad_norm=null")
    if optim.optimizer == "lamb" and tuple(optim.adam_betas) != LAMB_BETAS:
        found.append(
            f"optim.adam_betas are {list(optim.adam_betas)}, but IPUTrainer's LAMB has {list(LAMB_BETAS)}; "
            f"set optim.adam_betas={list(LAMB_BETAS)}"
        )
    if recipe.model.ctc_loss_reduction == "sum" and ipu.micro_batch > 1:
        found.append(
            "model.ctc_loss_reduction is sum, which depends on the micro-batch on an IPU; set ipu.micro_batch=1"
        )
    if ipu.auto_loss_scaling and ipu.precision != "fp16":
        found.append("ipu.auto_loss_scaling is for fp16; set ipu.auto_loss_scaling=false")
    return found


def _layer_problems(ipu: IpuSection, facts: ModelFacts) -> List[str]:
    """What is wrong with the counts; a list of the wrong length is told by `ipu_checks`."""
    if len(ipu.layers_per_ipu) != ipu.ipus_per_replica and ipu.layers_per_ipu != (-1,):
        return []
    try:
        placement.expand(ipu.layers_per_ipu, ipu.ipus_per_replica, facts.layers)
    except PresetError:
        given = sum(count for count in ipu.layers_per_ipu if count > 0)
        return [
            f"ipu.layers_per_ipu places {amounts.count(given, 'layer')}, the model has "
            f"{amounts.count(facts.layers, 'layer')} ({facts.conv_layers} "
            f"convolutions, 1 positional embedding, {facts.transformer_layers} transformer layers, 1 head); correct a "
            f"count, or write -1 for the rest on an IPU"
        ]
    return []


def whole_calls(recipe: Recipe, steps: int) -> int:
    """Optimizer steps, rounded up to whole calls of the device."""
    iterations = section(recipe).device_iterations
    return -(-steps // iterations) * iterations


def refuse_small(name: str, utterances: int, recipe: Recipe) -> None:
    """Raises PresetError where a split does not fill one call of the device."""
    need = recipe.optim.global_batch * section(recipe).device_iterations
    if utterances < need:
        raise PresetError(
            f"split {name} has {amounts.count(utterances, 'utterance')}, fewer than the {need} of one call of the "
            "device",
            fix="lower optim.global_batch or ipu.device_iterations, or prepare more data",
        )


# -- the settings -----------------------------------------------------------------------------------------------------


def gradient_accumulation(recipe: Recipe) -> int:
    """Micro-batches that each replica adds up for one optimizer step."""
    ipu = section(recipe)
    return recipe.optim.global_batch // (ipu.micro_batch * ipu.replication)


def ipu_config_kwargs(recipe: Recipe, *, cache: Path) -> Dict[str, Any]:
    """Arguments of optimum.graphcore.IPUConfig. cache: where compiled executables are kept."""
    ipu = section(recipe)
    found: Dict[str, Any] = {
        "layers_per_ipu": list(ipu.layers_per_ipu),
        "ipus_per_replica": ipu.ipus_per_replica,
        "replication_factor": ipu.replication,
        "inference_replication_factor": ipu.inference_replication,
        "gradient_accumulation_steps": gradient_accumulation(recipe),
        "device_iterations": ipu.device_iterations,
        "inference_device_iterations": ipu.inference_device_iterations,
        "optimizer_state_offchip": ipu.optimizer_state_offchip,
        "replicated_tensor_sharding": ipu.replicated_tensor_sharding,
        "recompute_checkpoint_every_layer": ipu.recompute_checkpoint_every_layer,
        "enable_half_partials": ipu.enable_half_partials,
        "output_mode": ipu.output_mode,
        "auto_loss_scaling": ipu.auto_loss_scaling,
        "executable_cache_dir": str(cache),
    }
    if ipu.matmul_proportion:
        found["matmul_proportion"] = list(ipu.matmul_proportion)
    return found


def training_arguments_kwargs(recipe: Recipe, *, output: Path, calls: int) -> Dict[str, Any]:
    """Arguments of optimum.graphcore.IPUTrainingArguments.

    output: where the trainer puts its own checkpoints. calls: calls of the device in the whole run, each of
    `ipu.device_iterations` optimizer steps. Logging, saving and evaluation are asrctl's; max_grad_norm is ignored by
    IPUTrainer and left out.
    """
    ipu, optim = section(recipe), recipe.optim
    mode, workers = _loader(recipe)
    lamb = optim.optimizer == "lamb"
    return {
        "output_dir": str(output),
        "per_device_train_batch_size": ipu.micro_batch,
        "per_device_eval_batch_size": ipu.micro_batch,
        "max_steps": calls,
        "fp32": ipu.precision == "fp32",
        "loss_scaling": ipu.loss_scaling,
        "learning_rate": optim.learning_rate,
        "warmup_steps": optim.warmup_steps,
        "weight_decay": optim.weight_decay,
        "adam_beta1": optim.adam_betas[0],
        "adam_beta2": optim.adam_betas[1],
        "adam_epsilon": optim.adam_eps,
        "lamb": lamb and optim.adam_bias_correction,
        "lamb_no_bias_correction": lamb and not optim.adam_bias_correction,
        "seed": device_seed(optim.seed),
        "dataloader_mode": mode,
        "dataloader_num_workers": workers,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "ignore_data_skip": True,
        "logging_strategy": "no",
        "save_strategy": "no",
        "evaluation_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "log_level": "error",
    }


def device_seed(seed: int) -> int:
    """optimum-graphcore takes seed 0 for no seed, and numpy's ends at 32 bits."""
    return seed % 2**32 or 1


def _loader(recipe: Recipe) -> "tuple[str, int]":
    """Mode and workers. optimum-graphcore's rebatching needs from 2 workers up to one for each item of a call."""
    ipu = section(recipe)
    workers = min(ipu.dataloader_workers, recipe.optim.global_batch * ipu.device_iterations)
    if workers == 0:
        return "sync", 0
    rebatched = ipu.dataloader_mode == "async_rebatched"
    return "async" if rebatched and workers < 2 else ipu.dataloader_mode, workers


# -- pods of several hosts --------------------------------------------------------------------------------------------


def poprun_line(recipe: Recipe, words: Sequence[str]) -> str:
    """The command that runs `words` (as typed after `asrctl`) on every host of a pod; capitals are to be filled in."""
    ipu = section(recipe)
    hosts = ",".join(f"HOST{number}" for number in range(ipu.hosts))
    options = {
        "host": hosts,
        "num-instances": ipu.hosts,
        "num-replicas": ipu.replication,
        "ipus-per-replica": ipu.ipus_per_replica,
        "vipu-partition": "PARTITION",
        "executable-cache-path": "FOLDER",
    }
    return " ".join(["poprun"] + [f"--{name}={value}" for name, value in options.items()] + ["asrctl", *words])
