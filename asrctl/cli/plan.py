"""`asrctl plan`."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence

import typer

from asrctl.cli import options
from asrctl.cli.report import Output, hanging, session, table
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.plan import CorpusPlan, PlanResult
    from asrctl.ipu.plan.memory import IpuMemory

EPILOG = options.examples(
    "asrctl plan --preset base-4ipu",
    "asrctl plan --preset large-8ipu --set ipu.pod=16 --png timetable.png",
    "asrctl plan --preset base-4ipu --data librispeech --search",
)
_MARGIN = 8
_BAR = 10


def command(
    preset: Optional[str] = options.PRESET,
    data: Optional[str] = typer.Option(None, "--data", help="Name of prepared data; default: the latest, if any."),
    overrides: List[str] = options.SET,
    search: bool = typer.Option(False, "--search", help="Look for a faster layers_per_ipu that fits."),
    png: Optional[Path] = typer.Option(
        None, "--png", metavar="FILE", help="Draw the pipeline's timetable.", readable=False
    ),
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Show what an IPU would do with a preset: placement, pipeline, memory, padding. Needs no IPU."""
    with session("plan", Output(json, verbose, workspace)) as report:
        from asrctl.commands.plan import PlanRequest, plan
        from asrctl.ipu.plan import drawing
        from asrctl.storage import files, output_paths
        from asrctl.storage.workspace import Workspace

        request = PlanRequest(preset=preset, data=data, overrides=tuple(overrides), search=search)
        place = Workspace(workspace)
        picture = None if png is None else output_paths.resolve(png)
        if picture is not None:
            place.refuse_managed(picture)
            output_paths.refuse_overwriting(picture, drawing.is_drawing, what="a picture of asrctl", replace=True)
        result = plan(place, request, report.emit)
        if picture is not None:
            batch = result.batch
            title = (
                f"{result.recipe.name}: one optimizer step of "
                f"{_count(batch.accumulation, 'micro-batch', 'micro-batches')}"
            )
            with files.atomic_path(picture) as temporary:
                drawing.png(result.timetable, result.placement.stages, title, temporary)
        document = dict(result.as_dict(), png=None if png is None else str(png))
        fancy = "utf" in (report.stdout.encoding or "").lower()
        lines = plan_lines(result, fancy=fancy, every_layer=verbose)
        report.done(document, lines + ([f"timetable: {png}"] if png is not None else []))


def plan_lines(result: "PlanResult", *, fancy: bool, every_layer: bool) -> List[str]:
    """The plan for people, within the width of the terminal. every_layer: a line for each layer."""
    lines = _head(result) + _placement(result, fancy=fancy)
    if every_layer:
        lines += ["", *table(list(zip(result.placement.ipus, result.placement.names)), ("IPU", "layer"))]
    lines += _batch(result) + _pipeline(result, fancy=fancy) + _memory(result) + _shapes(result)
    lines += _length(result) + _search(result) + _poprun(result)
    for warning in result.warnings:
        lines += hanging("warning: ", warning)
    return lines


def _head(result: "PlanResult") -> List[str]:
    ipu, shape = result.ipu, result.geometry
    total = ipu.ipus_per_replica * ipu.replication
    replicas = "one replica" if ipu.replication == 1 else f"{ipu.replication} replicas of {ipu.ipus_per_replica}"
    model = result.recipe.model.checkpoint or f"{result.recipe.model.architecture} from scratch"
    sizes = f"{shape.layers} transformer layers of {shape.hidden} ({result.origin.text})"
    return [f"{result.recipe.name} on {_count(total, 'IPU')}, {replicas}", *_section("model", f"{model}, {sizes}"), ""]


def _placement(result: "PlanResult", *, fancy: bool) -> List[str]:
    placed, most = result.placement, max(result.compute)
    rows = []
    for ipu in range(len(placed.layers_per_ipu)):
        # Short enough that all of a model on one IPU fits 80 columns.
        names = _ranges([placed.names[index] for index in placed.on(ipu)]).replace("Positional Embedding", "Positional")
        share = result.compute[ipu]
        rows.append((ipu, names or "-", f"{share:4.0%}", _bar(share / most, fancy), f"{result.busy[ipu]:4.0%}"))
    lines = table(rows, ("IPU", "layers", "work", " " * _BAR, "busy"))
    counts = ", ".join(map(str, placed.layers_per_ipu))
    blocks = "" if placed.blocks else "; one IPU: no blocks are made"
    return [*lines, *_section("", f"layers_per_ipu {counts}{blocks}")]


def _batch(result: "PlanResult") -> List[str]:
    batch = result.batch
    made = (
        f"{_count(batch.size, 'utterance')} per call = micro-batch {batch.micro_batch} x "
        f"{_count(batch.replication, 'replica')} "
        f"x {batch.accumulation} accumulated x {_count(batch.device_iterations, 'device iteration')}; "
        f"an optimizer step takes {batch.global_batch}"
    )
    return ["", *_section("batch", made)]


def _pipeline(result: "PlanResult", *, fancy: bool) -> List[str]:
    from asrctl.ipu.plan.drawing import BLOCKS, LETTERS, text_lines

    timetable, symbols = result.timetable, BLOCKS if fancy else LETTERS
    columns = shutil.get_terminal_size().columns - _MARGIN
    drawn = text_lines(timetable, columns, symbols)
    lines = [f"IPU {place:<3} {row}" for place, row in zip(result.placement.stages, drawn)]
    key = f"{symbols[1]} forward  {symbols[2]} back  {symbols[3]} both  {symbols[0]} idle"
    ramp = (
        f"{timetable.cycles} cycles per step, {timetable.depth - 1} of them filling and draining: "
        f"{timetable.ramp_share:.1%}; at least {_count(timetable.depth, 'micro-batch', 'micro-batches')} "
        f"{amounts.noun(timetable.depth, 'is', 'are')} needed"
    )
    if timetable.stages == 1:
        ramp = "one stage, so nothing to fill and drain"
    return ["", *lines, *_section("", key), *_section("", ramp)]


def _memory(result: "PlanResult") -> List[str]:
    from asrctl.ipu.plan.memory import MIB, SRAM_BYTES

    header = ("IPU", "weights", "grads", "optim", "stash", "work", "matmul", "code", "total", "of SRAM", "")
    rows = [_memory_row(item, MIB, SRAM_BYTES) for item in result.memory]
    off_chip = sum(item.host_optimizer for item in result.memory)
    where = f"; {off_chip / MIB:.0f} MiB of optimizer state off chip, for each replica" if off_chip else ""
    note = f"MiB, estimated, of {SRAM_BYTES / MIB:.0f} in a Mk2 IPU{where}"
    return ["", *table(rows, header), *_section("", note)]


def _memory_row(item: "IpuMemory", unit: int, sram: int) -> Sequence[object]:
    parts = (item.weights, item.gradients, item.optimizer, item.stash, item.working, item.matmul, item.program)
    share = item.total / sram
    shown = [round(part / unit) for part in (*parts, item.total)]
    return (item.ipu, *shown, f"{share:7.0%}", item.verdict)


def _shapes(result: "PlanResult") -> List[str]:
    audio, labels = result.recipe.audio, result.recipe.batches.max_labels
    samples = round(audio.max_s * audio.sample_rate)
    static = (
        f"{audio.max_s:g} s ({samples} samples, {result.frames} frames) and {_count(labels, 'label')} for every "
        "utterance"
    )
    lines = ["", *_section("shapes", static)]
    return lines + (_corpus(result.corpus) if result.corpus is not None else [])


def _corpus(corpus: "CorpusPlan") -> List[str]:
    limit, better = corpus.limit, corpus.better
    dropped = corpus.rejected_too_long + limit.dropped
    said = (
        f"{corpus.name}: {_count(corpus.utterances, 'utterance')}, {corpus.hours:.2f} h; {limit.padding_compute:.0%} "
        "of the "
        f"compute is padding; the limit drops {dropped}; the longest has {corpus.longest_s:.1f} s, the longest text "
        f"{_count(corpus.longest_labels, 'label')}"
    )
    lines = _section("data", said)
    if not corpus.choices:
        return [*lines, *_section("", "no shorter limit is clearly better")]
    rows = [
        (
            f"{item.max_s:g}",
            item.dropped,
            f"{item.dropped_share:.1%}",
            f"{1 - item.flops_per_s / limit.flops_per_s:.0%}",
        )
        for item in corpus.choices
    ]
    header = ("audio.max_s", "drops", "of the audio", "compute saved per second of speech")
    lines += [" " * _MARGIN + line for line in table(rows, header)]
    return lines if better is None else [*lines, *_section("better", f"--set audio.max_s={better.max_s:g}")]


def _length(result: "PlanResult") -> List[str]:
    if result.steps is None:
        epochs = result.recipe.optim.epochs
        return _section(
            "length", f"{_count(epochs, 'epoch')}; prepare the data to know the steps, or name it with --data"
        )
    samples = result.steps * result.batch.global_batch
    epochs_text = "" if result.epochs is None else f", {_count(round(result.epochs, 2), 'epoch')}"
    return _section("length", f"{_count(result.steps, 'step')}, {_count(samples, 'utterance')}{epochs_text}")


def _search(result: "PlanResult") -> List[str]:
    if not result.searched:
        return []
    other = result.alternative
    if other is None:
        return ["", *_section("search", "no other layers_per_ipu is faster by this estimate and fits")]
    counts = ",".join(map(str, other.layers_per_ipu))
    fullest = max(item.total for item in other.memory) / 2**20
    said = (
        f"--set 'ipu.layers_per_ipu=[{counts}]' would be {other.speedup:.2f} times as fast by this estimate; the "
        f"fullest IPU then holds about {fullest:.0f} MiB"
    )
    return ["", *_section("search", said)]


def _poprun(result: "PlanResult") -> List[str]:
    if result.poprun is None:
        return []
    # Two columns less: the line goes on as a shell reads it.
    wrapper = textwrap.TextWrapper(shutil.get_terminal_size().columns - 2, subsequent_indent=" " * _MARGIN)
    wrapper.initial_indent, wrapper.break_on_hyphens, wrapper.break_long_words = "hosts".ljust(_MARGIN), False, False
    wrapped = wrapper.wrap(result.poprun)
    return ["", *[line + " \\" for line in wrapped[:-1]], wrapped[-1]]


def _ranges(names: Sequence[str]) -> str:
    """["Conv 0", "Conv 1", "Positional Embedding"] -> "Conv 0-1, Positional Embedding"."""
    groups: List[List[str]] = []
    for name in names:
        stem = name.rsplit(" ", 1)[0]
        if groups and name[-1].isdigit() and groups[-1][0].rsplit(" ", 1)[0] == stem:
            groups[-1].append(name)
        else:
            groups.append([name])
    return ", ".join(group[0] + (f"-{group[-1].rsplit(' ', 1)[1]}" if len(group) > 1 else "") for group in groups)


def _bar(share: float, fancy: bool) -> str:
    return (("█" if fancy else "#") * round(share * _BAR)).ljust(_BAR)


def _section(name: str, text: str) -> List[str]:
    return hanging(name.ljust(_MARGIN), text)


def _count(number: float, one: str, many: Optional[str] = None) -> str:
    return f"{number if isinstance(number, int) else f'{number:g}'} {amounts.noun(number, one, many)}"
