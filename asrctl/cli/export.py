"""`asrctl export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import typer

from asrctl.cli import options
from asrctl.cli.report import Output, outlook_lines, session, table
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.dry_run import DryRun
    from asrctl.commands.export import ExportResult
    from asrctl.commands.export_beside import BesideResult

EPILOG = options.examples(
    "asrctl export --format hf --output my-model/",
    "asrctl export --run base-4ipu --format onnx",
    "asrctl export --model someones-model/ --format onnx --output graph/ --json",
)


def command(
    run: Optional[str] = typer.Option(None, "--run", help="Name of the run; default: the latest with a model."),
    model: Optional[str] = typer.Option(None, "--model", metavar="DIR", help="A Hugging Face folder instead of a run."),
    format_: str = typer.Option("hf", "--format", help="hf (Hugging Face folder with model card) or onnx."),
    output: Optional[Path] = typer.Option(
        None, "--output", "-o", help="Folder that gets a copy of the export.", readable=False
    ),
    beside: Optional[Path] = typer.Option(
        None,
        "--beside",
        readable=False,
        metavar="BASE",
        help="Of one language of a model of many: add it to the folder of its base, among the others.",
    ),
    data: Optional[str] = typer.Option(
        None, "--data", help="Prepared data whose utterances verify the export; default: the run's."
    ),
    force: bool = typer.Option(False, "--force", help="Export again, and replace an earlier export in --output."),
    merge: bool = typer.Option(
        False, "--merge", help="Of a run of LoRA: one whole model, rather than what PEFT loads beside the base."
    ),
    dry_run: bool = options.DRY_RUN,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Write a trained model for use elsewhere, verified on real utterances."""
    with session("export", Output(json, verbose, workspace)) as report:
        from asrctl.commands.export import ExportRequest, export, plan
        from asrctl.commands.export_beside import lay_beside
        from asrctl.storage.workspace import Workspace

        if beside is not None:
            _refuse_with_beside({"--model": model, "--output": output, "--merge": merge, "--dry-run": dry_run})
            laid = lay_beside(Workspace(workspace), beside, run=run, data=data, force=force, emit=report.emit)
            report.done(laid.as_dict(), beside_lines(laid))
            return
        request = ExportRequest(run, model, data, format_, output, force, merge)
        if dry_run:
            planned = plan(Workspace(workspace), request, report.emit)
            report.done(planned.as_dict(), plan_lines(planned))
            return
        result = export(Workspace(workspace), request, report.emit)
        report.done(result.as_dict(), result_lines(result))


def _refuse_with_beside(options_given: Dict[str, Any]) -> None:
    """Raises UsageError for an option that means nothing there."""
    from asrctl.errors import UsageError

    for name, value in options_given.items():
        if value:
            raise UsageError(f"--beside and {name} exclude each other", fix="give one of them")


def beside_lines(laid: "BesideResult") -> List[str]:
    """What was written, and how it is chosen."""
    verified = laid.verified
    return [
        f"verified: plain transformers {verified['transformers']} gives the same "
        f"{amounts.count(len(verified['utterances']), 'transcript')}",
        f"language {laid.language}: {' and '.join(laid.files)} in {laid.folder}",
        f'in transformers: tokenizer.set_target_lang("{laid.language}") and model.load_adapter("{laid.language}")',
    ]


def plan_lines(planned: "DryRun") -> List[str]:
    """What would be written, and what it would be verified on."""
    found = planned.facts
    verified = (
        f", verified on {amounts.count(len(found['verified_on']), 'utterance')}" if found["id"] is not None else ""
    )
    disk = [f"disk: about {amounts.size(found['disk_bytes'])}"] if found["disk_bytes"] is not None else []
    return [f"to export: format {found['format']}{verified}", *disk, *outlook_lines(planned)]


def result_lines(result: "ExportResult") -> List[str]:
    """What was written, what the check found, and what to do with it."""
    verified = result.verified
    count, difference = (
        len(verified["utterances"]),
        f"logits differ by at most {verified['largest_logit_difference']:g}",
    )
    lines = [*table([(name, amounts.size(number)) for name, number in result.files.items()]), ""]
    if result.format == "hf":
        who = f"plain transformers {verified['transformers']}"
        who += f" with peft {verified['peft']}" if "peft" in verified else ""
        lines.append(f"verified: {who} gives the same {amounts.count(count, 'transcript')}; {difference}")
        use = result.folder / "README.md"
    else:
        share = f"{100 * verified['agreement']:.2f} % of {verified['frames']} frames"
        lines.append(
            f"verified: onnxruntime agrees with PyTorch on {share} of {amounts.count(count, 'utterance')}; {difference}"
        )
        use = result.folder / "preprocessing.json"
    return [*lines, f"export: {result.folder}", f"how to use it: {use}"]
