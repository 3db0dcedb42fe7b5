"""What an IPU would do with a preset: placement, batches, pipeline, memory, padding. Needs no IPU."""

from __future__ import annotations

import dataclasses
import math
import shlex
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

from asrctl.commands import select
from asrctl.config import presets
from asrctl.config.recipe import IpuSection, Recipe
from asrctl.data.dataset import PreparedData, PreparedSplit
from asrctl.data.sampler import samples_in
from asrctl.errors import MissingArtifact, PresetError
from asrctl.events import Emit, Note, ignore
from asrctl.ipu import config
from asrctl.ipu.plan import balance, geometry, limits, memory, placement
from asrctl.ipu.plan.geometry import Geometry, Origin
from asrctl.ipu.plan.layers import Layer, layers_of, total_flops
from asrctl.ipu.plan.limits import Limit
from asrctl.ipu.plan.memory import IpuMemory
from asrctl.ipu.plan.placement import Placement
from asrctl.ipu.plan.timetable import CombinedBatch, Timetable
from asrctl.models import partial_models, weights
from asrctl.storage import files
from asrctl.storage.workspace import Workspace
from asrctl.training.compatibility import alignable, conflicts, convolutions

DEFAULT_PRESET = "base-4ipu"
# Labels of a lower-case English vocabulary with apostrophe, word delimiter, [UNK] and [PAD], rounded up.
_USUAL_LABELS = 32


@dataclass(frozen=True)
class PlanRequest:
    """preset, data: None for what fits. search: propose a better layers_per_ipu too."""

    preset: Optional[str] = None
    data: Optional[str] = None
    overrides: Tuple[str, ...] = ()
    search: bool = False


@dataclass(frozen=True)
class CorpusPlan:
    """What a recipe makes of prepared data. rejected_too_long: utterances that `prepare` left out for their length.

    longest_labels: labels of the longest transcript. choices: limits that cost less, by the audio they drop. better:
    the recommended one, or None.
    """

    name: str
    id: str
    utterances: int
    hours: float
    rejected_too_long: int
    longest_s: float
    longest_labels: int
    limit: Limit
    better: Optional[Limit]
    choices: Tuple[Limit, ...]
    steps_per_epoch: int

    def as_dict(self) -> Dict[str, Any]:
        better = None if self.better is None else self.better.as_dict()
        choices = [limit.as_dict() for limit in self.choices]
        return dict(self.__dict__, limit=self.limit.as_dict(), better=better, choices=choices)


@dataclass(frozen=True)
class Alternative:
    """Another layers_per_ipu. speedup: duration now / then. memory: its estimate."""

    layers_per_ipu: Tuple[int, ...]
    speedup: float
    busy: Tuple[float, ...]
    memory: Tuple[IpuMemory, ...]

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__, memory=[item.as_dict() for item in self.memory])


@dataclass(frozen=True)
class PlanResult:
    """The plan. compute: share of a step's operations on each IPU; busy: share of the step in which it computes.

    corpus, steps, epochs: None without prepared data (steps stays known where the preset counts steps).
    search: None where it was not asked for; its `alternative` is None where nothing better was found.
    """

    recipe: Recipe
    geometry: Geometry
    origin: Origin
    placement: Placement
    batch: CombinedBatch
    timetable: Timetable
    compute: Tuple[float, ...]
    busy: Tuple[float, ...]
    memory: Tuple[IpuMemory, ...]
    frames: int
    corpus: Optional[CorpusPlan]
    steps: Optional[int]
    epochs: Optional[float]
    poprun: Optional[str]
    alternative: Optional[Alternative] = None
    searched: bool = False
    warnings: Tuple[str, ...] = ()
    notes: Tuple[str, ...] = field(default=())

    @property
    def ipu(self) -> IpuSection:
        return config.section(self.recipe)

    def as_dict(self) -> Dict[str, Any]:
        batch, table = self.batch, self.timetable
        return {
            "preset": self.recipe.name,
            "model": dict(dataclasses.asdict(self.geometry), origin=self.origin.text, assumed=self.origin.assumed),
            "ipus": {
                "per_replica": self.ipu.ipus_per_replica,
                "replicas": self.ipu.replication,
                "total": self.ipu.ipus_per_replica * self.ipu.replication,
            },
            "layers_per_ipu": list(self.placement.layers_per_ipu),
            "placement": [{"layer": n, "ipu": i} for n, i in zip(self.placement.names, self.placement.ipus)],
            "batch": dict(dataclasses.asdict(batch), global_batch=batch.global_batch, combined=batch.size),
            "pipeline": {
                "stages": table.stages,
                "depth": table.depth,
                "cycles": table.cycles,
                "ramp_share": table.ramp_share,
                "compute_share": list(self.compute),
                "busy": list(self.busy),
            },
            "shapes": {
                "max_s": self.recipe.audio.max_s,
                "samples": samples_in(self.recipe.audio.max_s, self.recipe.audio.sample_rate),
                "frames": self.frames,
                "max_labels": self.recipe.batches.max_labels,
            },
            "memory": [item.as_dict() for item in self.memory],
            "data": None if self.corpus is None else self.corpus.as_dict(),
            "steps": self.steps,
            "samples": None if self.steps is None else self.steps * batch.global_batch,
            "epochs": self.epochs,
            "poprun": self.poprun,
            "search": self._search_dict(),
            "warnings": list(self.warnings),
        }

    def _search_dict(self) -> Optional[Dict[str, Any]]:
        if not self.searched:
            return None
        return {"alternative": None if self.alternative is None else self.alternative.as_dict()}


def plan(workspace: Workspace, request: PlanRequest, emit: Emit = ignore) -> PlanResult:
    """Raises PresetError (no `ipu` section, counts that do not add up), MissingArtifact (no such data)."""
    named = _data(workspace, request)
    resolved = _recipe(workspace, request, named, emit)
    recipe = resolved.recipe
    shape, origin = read_geometry(recipe, _labels(named))
    num_samples = samples_in(recipe.audio.max_s, recipe.audio.sample_rate)
    layers = layers_of(shape, num_samples)
    ipu = config.section(recipe)
    names = placement.layer_names(len(shape.conv_dim), shape.layers)
    placed = placement.place(names, ipu.layers_per_ipu, ipu.ipus_per_replica)
    batch = combined_batch(recipe)
    speed = balance.speed(layers, placed, ipu, batch.accumulation)
    corpus = None if named is None else _corpus(recipe, shape, *named)
    steps, epochs = _steps(recipe, corpus)
    used = tuple(memory.estimate(layers, placed, ipu, batch.accumulation))
    return PlanResult(
        recipe=recipe,
        geometry=shape,
        origin=origin,
        placement=placed,
        batch=batch,
        timetable=Timetable(len(placed.stages), batch.accumulation),
        compute=_compute(layers, placed),
        busy=_busy(placed, speed),
        memory=used,
        frames=int(shape.conv_frames(num_samples)[-1]),
        corpus=corpus,
        steps=steps,
        epochs=epochs,
        poprun=_poprun(recipe, request),
        alternative=_alternative(layers, ipu, batch.accumulation, placed, speed) if request.search else None,
        searched=request.search,
        warnings=tuple(_warnings(recipe, shape, origin, used, named)),
        notes=resolved.notes,
    )


# -- what is meant ----------------------------------------------------------------------------------------------------

Named = Tuple[str, PreparedData]


def _data(workspace: Workspace, request: PlanRequest) -> Optional[Named]:
    """The data that was asked for, or else the latest, if any."""
    if request.data is not None:
        return request.data, select.named_data(workspace, request.data)
    try:
        return select.latest_data(workspace)
    except MissingArtifact:
        return None


def _recipe(workspace: Workspace, request: PlanRequest, named: Optional[Named], emit: Emit) -> presets.Resolved:
    name = request.preset
    if name is None and named is not None and named[1].summary.preset:
        prepared_with = presets.load(named[1].summary.preset, workspace=workspace.root)
        name = None if prepared_with.recipe.ipu is None else named[1].summary.preset
    if name is None:
        name = DEFAULT_PRESET
        emit(Note(f"no --preset: {name}"))
    resolved = presets.load(name, overrides=request.overrides, workspace=workspace.root)
    config.section(resolved.recipe)
    presets.refuse_for_ipu(resolved)
    for note in resolved.notes:
        emit(Note(note))
    return resolved


def combined_batch(recipe: Recipe) -> CombinedBatch:
    ipu = config.section(recipe)
    return CombinedBatch(ipu.micro_batch, ipu.replication, config.gradient_accumulation(recipe), ipu.device_iterations)


def read_geometry(recipe: Recipe, labels: int) -> Tuple[Geometry, Origin]:
    """The sizes of a recipe's model, from its config.json where that is at hand. Raises PresetError."""
    values, origin = _model_values(recipe)
    try:
        return geometry.from_config({**values, **recipe.model.config}, labels), origin
    except ValueError as error:
        raise PresetError(f"the model of preset {recipe.name}: {error}", fix="correct model.config") from None


def _model_values(recipe: Recipe) -> Tuple[Mapping[str, Any], Origin]:
    checkpoint = recipe.model.checkpoint
    if checkpoint is None:
        return {}, Origin("the preset's model.config")
    folder = weights.checkpoint_at_hand(checkpoint, recipe.model.revision)
    if folder is None:
        return geometry.known(checkpoint)
    path = folder / "config.json"
    if not path.exists():
        partial_models.refuse(folder)
    values = files.read_json(path, fix="correct model.checkpoint")
    if not isinstance(values, dict):
        raise PresetError(f"{path} does not describe a model", fix="correct model.checkpoint")
    return values, Origin("its config.json")


def _labels(named: Optional[Named]) -> int:
    return _USUAL_LABELS if named is None else len(named[1].vocabulary())


# -- what comes of it -------------------------------------------------------------------------------------------------


def _compute(layers: List[Layer], placed: Placement) -> Tuple[float, ...]:
    """Share of a micro-batch's operations, forward and back, on each IPU."""
    last = placed.stages[-1]
    costs = [
        sum(memory.stage_flops([layers[i] for i in placed.on(place)], 1, last=place == last))
        for place in range(len(placed.layers_per_ipu))
    ]
    return tuple(cost / sum(costs) for cost in costs)


def _busy(placed: Placement, speed: balance.Speed) -> Tuple[float, ...]:
    by_ipu = dict(zip(placed.stages, speed.busy))
    return tuple(by_ipu.get(place, 0.0) for place in range(len(placed.layers_per_ipu)))


def _corpus(recipe: Recipe, shape: Geometry, name: str, data: PreparedData) -> CorpusPlan:
    train = data.split("train")

    def cost(num_samples: Any) -> Any:
        return total_flops(shape, num_samples)

    limit = limits.measure(train.num_samples, train.sample_rate, recipe.audio.max_s, cost)
    return CorpusPlan(
        name=name,
        id=data.artifact.id,
        utterances=len(train),
        hours=train.seconds / 3600,
        rejected_too_long=data.summary.splits["train"].reasons.get("too-long", 0),
        longest_s=float(train.num_samples.max(initial=0)) / train.sample_rate,
        longest_labels=int(train.num_labels.max(initial=0)),
        limit=limit,
        better=limits.better(train.num_samples, train.sample_rate, recipe.audio.max_s, cost),
        choices=tuple(limits.choices(train.num_samples, train.sample_rate, recipe.audio.max_s, cost)),
        # Combined batches are always whole on an IPU, whatever batches.drop_last says.
        steps_per_epoch=max(1, limit.kept // recipe.optim.global_batch),
    )


def _steps(recipe: Recipe, corpus: Optional[CorpusPlan]) -> Tuple[Optional[int], Optional[float]]:
    steps = recipe.optim.max_steps
    if corpus is None:
        return steps, recipe.optim.epochs if steps is None else None
    steps = config.whole_calls(recipe, steps or max(1, math.ceil(recipe.optim.epochs * corpus.steps_per_epoch)))
    return steps, steps / corpus.steps_per_epoch


def _alternative(
    layers: List[Layer], ipu: IpuSection, accumulation: int, placed: Placement, now: balance.Speed
) -> Optional[Alternative]:
    found = balance.search(layers, ipu, accumulation).layers_per_ipu
    if found is None or found == placed.layers_per_ipu:
        return None
    other = placement.place(placed.names, found, ipu.ipus_per_replica)
    speed = balance.speed(layers, other, ipu, accumulation)
    used = tuple(memory.estimate(layers, other, ipu, accumulation))
    fits_now = all(item.total <= memory.SRAM_BYTES for item in memory.estimate(layers, placed, ipu, accumulation))
    if fits_now and speed.duration >= now.duration:
        return None
    return Alternative(found, now.duration / speed.duration, _busy(other, speed), used)


def _warnings(
    recipe: Recipe, shape: Geometry, origin: Origin, used: Tuple[IpuMemory, ...], named: Optional[Named]
) -> List[str]:
    found = []
    if origin.assumed:
        found.append(f"the sizes of {recipe.model.checkpoint} are {origin.text}; its config.json is not at hand")
    for item in used:
        need, room = item.total / memory.MIB, memory.SRAM_BYTES / memory.MIB
        if item.verdict == memory.TOO_MUCH:
            found.append(f"IPU {item.ipu} will not hold its layers: about {need:.0f} MiB of {room:.0f} MiB")
        elif item.verdict == memory.TIGHT:
            found.append(f"IPU {item.ipu} may not hold its layers: about {need:.0f} MiB of {room:.0f} MiB")
    facts = config.ModelFacts(recipe.model.architecture, len(shape.conv_dim), shape.layers)
    found.extend(f"`--device ipu` refuses this preset: {problem}" for problem in config.unsupported(recipe, facts))
    ipu = config.section(recipe)
    if ipu.replication % ipu.hosts:
        found.append(f"ipu.hosts is {ipu.hosts}, which does not divide the {ipu.replication} replicas evenly")
    if named is not None:
        data = named[1]
        roles = ("train", "eval")
        splits: Mapping[str, PreparedSplit] = {role: data.split(role) for role in roles if role in data.splits}
        encoder = convolutions(recipe)
        found.extend(conflict.message for conflict in conflicts(recipe, data, splits, encoder))
        found.extend(_too_small(recipe, len(alignable(encoder, splits["train"]))))
    return found


def _too_small(recipe: Recipe, utterances: int) -> List[str]:
    try:
        config.refuse_small("train", utterances, recipe)
    except PresetError as refusal:
        return [f"`--device ipu` refuses this data: {refusal.message}; {refusal.fix}"]
    return []


def _poprun(recipe: Recipe, request: PlanRequest) -> Optional[str]:
    """The line that starts one process per host, for pods of several; words in capitals are the site's to fill in."""
    if config.section(recipe).hosts == 1:
        return None
    overrides = [word for text in request.overrides for word in ("--set", shlex.quote(text))]
    words = ["train", "--preset", request.preset or recipe.name, "--device", "ipu", *overrides]
    return config.poprun_line(recipe, words)
