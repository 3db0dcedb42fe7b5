"""What `train` refuses or warns of before it begins: options, recipe, device and data that do not fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from asrctl.commands.train_request import Selected, TrainRequest
from asrctl.config import presets
from asrctl.config.recipe import Recipe
from asrctl.data import data_rules, staleness
from asrctl.data.augmentation import chain
from asrctl.data.augmentation.recordings import Recordings
from asrctl.data.dataset import PreparedData, PreparedSplit
from asrctl.errors import PresetError
from asrctl.events import Emit, Note, Warned
from asrctl.messages import amounts
from asrctl.models import language_adapters, loading, weights
from asrctl.models.frames import Convolutions
from asrctl.runtime import devices
from asrctl.storage import stat_cache
from asrctl.storage.workspace import Workspace
from asrctl.training import compatibility
from asrctl.training.compatibility import alignable, conflicts, convolutions
from asrctl.training.runs import Run, start_command


@dataclass(frozen=True)
class Checked:
    """What looking at everything told. outline: of the checkpoint to start from, the model without weights, where it is
    on this machine. train: the utterances that the model can align. recordings: what folders hold that the recipe takes
    noise or rooms from, by key; digests: of that.
    """

    precision: str
    train: PreparedSplit
    outline: Optional[loading.Recognizer]
    recordings: Mapping[str, Recordings]
    digests: Mapping[str, str]


def check(
    workspace: Workspace,
    request: TrainRequest,
    selected: Selected,
    device: Any,
    emit: Emit,
    *,
    hardware_needed: bool,
    fetch: bool,
) -> Checked:
    """Refuse what does not fit together. Raises PresetError, DeviceError, BadData, MissingDependency.

    hardware_needed: false for what only compiles for an IPU. fetch: get a checkpoint from the hub that is not here.
    """
    stored, recipe, data = selected.stored, selected.recipe, selected.data
    if stored is None:
        _refuse_optimizer(recipe, device)
    for note in differences(recipe, device.kind):
        emit(Note(note))
    if not device.is_host:
        presets.refuse_for_ipu(selected.resolved)
    precision = _precision(recipe, device, stored, hardware_needed)
    _refuse_low_base(recipe, precision, device.kind)
    chain.refuse_codecs(recipe.batches.augment)
    recordings = chain.folders(recipe.batches.augment, emit)
    digests = _digests(workspace, recordings, remember=fetch)
    if stored is not None:
        _refuse_changes(workspace, stored, recipe, data, digests)
    outline = _look_at_checkpoint(recipe, data, emit, fetch=fetch) if stored is None else None
    _look_at_kind(recipe, _config_folder(stored), emit)
    train = data.split("train")
    encoder = convolutions(recipe, _config_folder(stored))
    _refuse_conflicts(workspace, selected, encoder, request.preset or data.summary.preset)
    _warn_of_no_effect(request.overrides, emit)
    return Checked(precision, _alignable(encoder, train, emit), outline, recordings, digests)


def _digests(workspace: Workspace, recordings: Mapping[str, Recordings], *, remember: bool) -> Dict[str, str]:
    """Of what the folders hold. remember: keep digests of files in the workspace, for the next time."""
    if not recordings:
        return {}
    if not remember:
        return {key: found.digest() for key, found in recordings.items()}
    with stat_cache.opened(workspace.own(workspace.cache("stat") / "stat.sqlite")) as cache:
        return {key: found.digest(cache) for key, found in recordings.items()}


def _config_folder(stored: Optional[Run]) -> Optional[Path]:
    """The folder with the config.json of the run to resume, where there is one."""
    return stored.shell if stored is not None and stored.shell.is_dir() else None


def _precision(recipe: Recipe, device: Any, stored: Optional[Run], hardware_needed: bool) -> str:
    """The precision; on an IPU all that it can not do is refused first. Raises DeviceError, PresetError."""
    if device.is_host:
        return devices.precision(device.kind, recipe.host(device.kind).precision)
    from asrctl.ipu import config, runner

    runner.preflight(recipe, device.kind, started=_config_folder(stored), hardware_needed=hardware_needed)
    return config.section(recipe).precision


def _refuse_low_base(recipe: Recipe, precision: str, kind: str) -> None:
    """Raises PresetError, MissingDependency where a recipe's LoRA can not be trained here."""
    section = recipe.model.lora
    if not section.rank:
        return
    from asrctl.models import lora

    lora.require()
    if section.base == "int8":
        lora.require_int8()
    elif section.base != "fp32" and precision != section.base:
        raise PresetError(
            f"model.lora.base is {section.base}, and training is in {precision}",
            fix=f"add `--set {kind}.precision={section.base}`, or `--set model.lora.base=fp32`",
        )


def _look_at_kind(recipe: Recipe, started: Optional[Path], emit: Emit) -> None:
    """Refuse, or tell, what a model of this type does not have. Raises PresetError, MissingDependency."""
    kind = compatibility.kind_of(recipe, started)
    compatibility.refuse_for_kind(recipe, kind)
    lacking = compatibility.without_effect(recipe, kind)
    if lacking:
        emit(Warned(f"{', '.join(lacking)} {amounts.noun(len(lacking), 'has', 'have')} no effect on a {kind} model"))


def _alignable(encoder: Convolutions, train: PreparedSplit, emit: Emit) -> PreparedSplit:
    kept = alignable(encoder, train)
    if len(kept) == len(train):
        return train
    left_out = len(train) - len(kept)
    emit(Note(f"{left_out} of {len(train)} training utterances are left out: more labels than this model has frames"))
    return train.only(kept)


def _refuse_optimizer(recipe: Recipe, device: Any) -> None:
    """Raises PresetError for one that the device has not."""
    if device.is_host and recipe.optim.optimizer != "adamw":
        raise PresetError(
            f"{recipe.name} asks for the optimizer {recipe.optim.optimizer}, which only IPUs have here",
            fix="add `--set optim.optimizer=adamw`, or use `--device ipu-emulated`",
        )


def differences(recipe: Recipe, kind: str) -> List[str]:
    """What a device does otherwise than the recipe's IPU configuration says; nothing where there is no such section."""
    if recipe.ipu is None or kind not in ("cpu", "cuda", "mps"):
        return []
    host, model = recipe.host(kind), recipe.model
    dropouts = (model.hidden_dropout, model.attention_dropout, model.activation_dropout, model.feat_proj_dropout)
    drawn = any((*dropouts, model.final_dropout, model.layerdrop))
    return [
        f"{recipe.name} on {kind}: the same global batch of {recipe.optim.global_batch}, data order, padding, schedule "
        f"and optimizer as on {recipe.ipu.ipus_per_replica} IPUs; precision is {host.precision} instead of "
        f"{recipe.ipu.precision}{', and dropout is drawn from other random numbers' if drawn else ''}"
    ]


def _look_at_checkpoint(recipe: Recipe, data: PreparedData, emit: Emit, *, fetch: bool) -> Optional[loading.Recognizer]:
    """The model that training would start from, as far as it is known without weights; None where it is not here.

    fetch: get from the hub what is not here. Raises what building the model would raise, in the same words.
    """
    section = recipe.model
    if section.checkpoint is None:
        return None
    here = weights.find_checkpoint if fetch else weights.local_checkpoint
    folder = here(section.checkpoint, section.revision, language_adapters.source(section))
    if folder is None:
        emit(Note(f"{section.checkpoint} is not in the hub's cache on this machine, so it was not looked at"))
        return None
    convolutions(recipe)  # which says best what is wrong with them
    found = loading.examine_start(section, folder, data.vocabulary())
    loading.require_rate(found, data.sample_rate)
    return found


def _refuse_conflicts(workspace: Workspace, selected: Selected, encoder: Convolutions, preset: Optional[str]) -> None:
    """Raises PresetError with every conflict of training.compatibility. preset: as it was named."""
    recipe, data, name = selected.recipe, selected.data, selected.data_name
    splits: Dict[str, PreparedSplit] = {one: data.split(one) for one in ("train", "eval") if one in data.splits}
    found = conflicts(recipe, data, splits, encoder, preset)
    if not found:
        return
    options = {option: value for conflict in found for option, value in conflict.again.items()}
    again = f", or prepare {_prepared_again(workspace, data, name, options)}" if options else ""
    raise PresetError(
        f"preset {recipe.name} does not fit the prepared data {name}",
        fix="; ".join(dict.fromkeys(conflict.advice for conflict in found)) + again,
        problems=[conflict.message for conflict in found],
    )


def _prepared_again(workspace: Workspace, data: PreparedData, name: str, options: Mapping[str, str]) -> str:
    """What to prepare again with other options, and how. Of a mixture, its parts."""
    if data.summary.mixture is None:
        return f"again {staleness.again(workspace, name, data.artifact.id, options)}"
    parts = [
        f"{part.name} {staleness.again(workspace, part.name, part.id, options)}" for part in data.summary.mixture.parts
    ]
    return f"its parts again ({'; '.join(parts)}) and mix them again"


def _warn_of_no_effect(overrides: Sequence[str], emit: Emit) -> None:
    """overrides: KEY=VALUE, of --set."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in data_rules.DECIDED:
            emit(Warned(f"--set {key} changes nothing here: it belongs to the data, and `prepare` goes by it"))


def _start_from(workspace: Workspace, stored: Run) -> str:
    return start_command(workspace, stored.info(), "--from-run", stored.name)


def _refuse_changes(
    workspace: Workspace, stored: Run, recipe: Recipe, data: PreparedData, recordings: Mapping[str, str]
) -> None:
    """Raises PresetError where what makes the experiment is not what the run to resume was started with."""
    info = stored.info()
    changed = changed_keys(stored.recipe().experiment(), recipe.experiment())
    if info.data.id != data.artifact.id:
        changed.append(f"data: was {info.data.id}, is {data.artifact.id}")
    elif info.data.content not in (None, data.content):
        changed.append(f"data: {data.artifact.id} was made again and holds other speech or labels")
    before = info.recordings or {}
    changed += [
        f"batches.augment.{key}: the folder holds other files now"
        for key, found in recordings.items()
        if before.get(key, found) != found
    ]
    if info.vocabulary != data.vocabulary().digest:
        changed.append("vocabulary: is not the one the run was started with")
    if changed:
        raise PresetError(
            f"run {stored.name!r} can not be resumed: what makes the experiment has changed",
            fix=f"undo the changes, or start a new run from this one: `{_start_from(workspace, stored)}`",
            problems=changed,
        )


def changed_keys(before: Any, after: Any, prefix: str = "") -> List[str]:
    """One line for each value that differs between two nested mappings."""
    if isinstance(before, dict) and isinstance(after, dict):
        lines: List[str] = []
        for name in sorted(set(before) | set(after)):
            lines.extend(changed_keys(before.get(name), after.get(name), f"{prefix}.{name}".lstrip(".")))
        return lines
    return [] if before == after else [f"{prefix}: was {before!r}, is {after!r}"]
