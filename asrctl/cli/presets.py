"""`asrctl presets`: list, show, check, copy, suggest, import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator, List, Mapping, Optional, Tuple

import typer

from asrctl.cli import numbers, options
from asrctl.cli.report import Output, session, table
from asrctl.cli.usage import HELP_NAMES, PLAIN, Command, Group

EPILOG = options.examples(
    "asrctl presets list",
    "asrctl presets show base-4ipu --sources",
    "asrctl presets check my-preset.yaml",
    "asrctl presets copy base-4ipu mine.yaml",
    "asrctl presets suggest --data my-recordings",
    "asrctl presets import ipu_config.json",
)

app = typer.Typer(
    cls=Group,
    help="List, show, check, copy, suggest and import presets.",
    epilog=EPILOG,
    context_settings=HELP_NAMES,
    **PLAIN,
)


_GPU_GB = numbers.option(
    "--gpu-gb",
    "a number of gigabytes",
    example="24",
    metavar="GB",
    help="Plan for a GPU with this much memory, here or elsewhere; default: the one that is here.",
    low=1,
    high=10_000,
)


@app.callback(invoke_without_command=True)
def default(ctx: typer.Context) -> None:
    """List, show, check, copy, suggest and import presets."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command("list", cls=Command, epilog=options.examples("asrctl presets list", "asrctl presets list --json"))
def list_presets(
    workspace: Path = options.WORKSPACE, as_json: bool = options.JSON, verbose: bool = options.VERBOSE
) -> None:
    """List every preset that can be named, and where it lies."""
    with session("presets list", Output(as_json, verbose, workspace)) as report:
        from asrctl.config import presets

        found = presets.available(workspace)
        result = [
            {"name": preset.name, "description": preset.description, "origin": preset.origin, "path": str(preset.path)}
            for preset in found
        ]
        lines = table([(preset.name, preset.origin, preset.description) for preset in found])
        report.done({"presets": result}, lines=lines)


@app.command(
    "show",
    cls=Command,
    epilog=options.examples("asrctl presets show tiny-cpu", "asrctl presets show base-4ipu --sources"),
)
def show(
    name: str = typer.Argument(..., metavar="NAME", help="Name of a preset, or a YAML file."),
    sources: bool = typer.Option(False, "--sources", help="Say where each value comes from."),
    set_: List[str] = options.SET,
    workspace: Path = options.WORKSPACE,
    as_json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Show every key of a preset as `train` would use it. The output is a preset itself."""
    with session("presets show", Output(as_json, verbose, workspace)) as report:
        from asrctl.config import presets

        resolved = presets.load(name, overrides=tuple(set_), workspace=workspace)
        for note in resolved.notes:
            report.note(note)
        recipe = resolved.recipe.as_dict()
        result = {"recipe": recipe, "sources": dict(resolved.sources), "path": str(resolved.path)}
        text = _with_sources(recipe, resolved.sources) if sources else presets.dumps(resolved.recipe).splitlines()
        report.done(result, lines=text)


@app.command("check", cls=Command, epilog=options.examples("asrctl presets check my-preset.yaml"))
def check(
    file: Path = typer.Argument(..., metavar="FILE", help="The YAML file of a preset.", readable=False),
    workspace: Path = options.WORKSPACE,
    as_json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Check a preset file: unknown keys, wrong values, numbers that do not fit together. All at once, with lines."""
    with session("presets check", Output(as_json, verbose, workspace)) as report:
        from asrctl.commands.preset_check import look_at_checkpoint
        from asrctl.config import presets
        from asrctl.events import Warned
        from asrctl.storage.workspace import Workspace

        resolved = presets.check(file, workspace)
        for note in resolved.notes:
            report.note(note)
        look_at_checkpoint(resolved.recipe, report.emit)
        warnings = [f"`--device ipu` refuses this preset: {problem}" for problem in presets.ipu_problems(resolved)]
        for warning in warnings:
            report.emit(Warned(warning))
        result = {"name": resolved.recipe.name, "path": str(resolved.path), "warnings": warnings}
        command = Workspace(workspace).command("train", "--preset", _as_file(file))
        report.done(result, lines=[f"{file} is a good preset", f"next: {command}"])


@app.command(
    "copy",
    cls=Command,
    epilog=options.examples("asrctl presets copy base-4ipu mine.yaml", "asrctl presets check mine.yaml"),
)
def copy(
    name: str = typer.Argument(..., metavar="NAME", help="Name of a preset, or a YAML file."),
    file: Path = typer.Argument(..., metavar="FILE", help="The YAML file to write.", readable=False),
    force: bool = typer.Option(False, "--force", help="Replace a preset that is there."),
    workspace: Path = options.WORKSPACE,
    as_json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Copy a preset, with its comments, into a file to change."""
    with session("presets copy", Output(as_json, verbose, workspace)) as report:
        from asrctl.commands.copy_preset import copy_preset
        from asrctl.storage.workspace import Workspace

        place = Workspace(workspace)
        result = copy_preset(place, name, file, force=force)
        command = place.command("train", "--preset", _as_file(result.path))
        lines = [f"{result.path} is a copy of {result.source}; change what you like, and check it", f"next: {command}"]
        report.done(result.as_dict(), lines=lines)


@app.command(
    "suggest",
    cls=Command,
    epilog=options.examples(
        "asrctl presets suggest --data my-recordings --language tur",
        "asrctl presets suggest --gpu-gb 16 --json",
    ),
)
def suggest(
    data: Optional[str] = typer.Option(None, "--data", metavar="NAME", help="Prepared data; default: the latest."),
    language: Optional[str] = typer.Option(
        None, "--language", metavar="CODE", help="The language spoken (tr, tur ...); default: what the data says."
    ),
    gpu_gb: Optional[float] = _GPU_GB,
    workspace: Path = options.WORKSPACE,
    as_json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Suggest a preset for prepared data, by hours of speech, language and device, with the reasons."""
    with session("presets suggest", Output(as_json, verbose, workspace)) as report:
        from asrctl.commands.suggest_preset import suggest as found_for
        from asrctl.storage.workspace import Workspace

        found = found_for(Workspace(workspace), data, language, gpu_gb)
        lines = [found.preset, *(f"- {reason}" for reason in found.reasons), f"next: {found.command}"]
        report.done(found.as_dict(), lines=lines)


@app.command(
    "import",
    cls=Command,
    epilog=options.examples(
        "asrctl presets import ipu_config.json --output my-pod.yaml",
        "asrctl presets import Graphcore/wav2vec2-ctc-base-ipu",
    ),
)
def import_(
    source: str = typer.Argument(..., metavar="FILE|HUB-NAME", help="An ipu_config.json, or a hub model that has one."),
    output: Optional[Path] = typer.Option(
        None,
        "--output",
        "-o",
        metavar="FILE",
        help="Where to write it; default: the workspace's presets.",
        readable=False,
    ),
    force: bool = typer.Option(False, "--force", help="Replace a preset of that name."),
    workspace: Path = options.WORKSPACE,
    as_json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Turn an ipu_config.json of optimum-graphcore, of any release, into a preset."""
    with session("presets import", Output(as_json, verbose, workspace)) as report:
        from asrctl.commands.import_preset import ImportRequest, import_preset
        from asrctl.storage.workspace import Workspace

        result = import_preset(Workspace(workspace), ImportRequest(source, output, force))
        for note in result.notes:
            report.note(note)
        place = Workspace(workspace)
        named = _as_file(result.path) if output is not None else result.name
        lines = [
            f"{result.path}: extends {result.extends}, layers_per_ipu {list(result.layers_per_ipu)}, "
            f"global batch {result.global_batch}",
            f"next: {place.command('plan', '--preset', named)}",
        ]
        report.done(result.as_dict(), lines=lines)


def _as_file(path: Path) -> str:
    """A path that --preset takes for one, not for a name to search for."""
    name = str(path)
    return name if path.suffix in (".yaml", ".yml") or path.name != name else f"./{name}"


def _with_sources(recipe: Mapping[str, Any], sources: Mapping[str, str]) -> List[str]:
    return [
        f"{key + ':':<37} {json.dumps(value, ensure_ascii=False):<20} # {sources.get(key, 'default')}"
        for key, value in _flat(recipe, "")
    ]


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[Tuple[str, Any]]:
    """{"a": {"b": 1}} -> ("a.b", 1)."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
