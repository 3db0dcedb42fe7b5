"""`asrctl status`: what the workspace holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List

from asrctl.cli import options
from asrctl.cli.report import Output, session, table
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.status import Line, Status

EPILOG = options.examples("asrctl status", "asrctl status --workspace other-workspace --json")


def command(workspace: Path = options.WORKSPACE, json: bool = options.JSON, verbose: bool = options.VERBOSE) -> None:
    """Show what is done, what is stale, and what to type next."""
    with session("status", Output(json, verbose, workspace)) as report:
        from asrctl.commands.status import status
        from asrctl.storage.workspace import Workspace

        found = status(Workspace(workspace))
        result = dict(found.as_dict(), workspace=str(workspace), exists=workspace.exists())
        report.done(result, lines=_lines(found, workspace))


def _lines(found: "Status", workspace: Path) -> List[str]:
    lines = table([(line.stage, line.name, line.state, _detail(line)) for line in found.lines])
    if not lines:
        lines = [f"{workspace} is empty" if workspace.exists() else f"{workspace} is not there yet"]
    total = sum(found.disk.values())
    parts = ", ".join(
        f"{name} {amounts.size(count)}" for name, count in sorted(found.disk.items(), key=lambda item: -item[1])
    )
    lines += [
        "",
        f"disk  {amounts.size(total)}" + (f" ({parts})" if parts else "") + f", {amounts.size(found.free_bytes)} free",
    ]
    return lines + [f"next  {command}" for command in found.next]


def _detail(line: "Line") -> str:
    details, parts = line.details, []
    for name, split in dict(details.get("splits", {})).items():
        parts.append(
            f"{name} {amounts.count(split.get('utterances', 0), 'utterance')} ({split.get('seconds', 0) / 3600:.2f} h)"
        )
    if parts and "train" not in details["splits"]:
        parts.append("for evaluation only")
    if details.get("steps") is not None:
        total = details.get("total_steps")
        parts.append(
            f"{details['steps']} of {amounts.count(total, 'step')}"
            if total
            else amounts.count(details["steps"], "step")
        )
    best, rate = details.get("best") or {}, details.get("rate", "WER")
    if best.get("wer") is not None:
        parts.append(f"best {rate} {100 * best['wer']:.2f} %")
    parts += [str(details[key]) for key in ("split", "format", "device") if key in details]
    if line.stage == "audit":
        parts.append(amounts.count(details.get("findings", 0), "finding"))
        parts += [f"with run {details['run']}"] if "run" in details else []
    if line.stage == "eval" and "data" in details:
        parts.append(f"of {details['data']}")
    if details.get("wer") is not None:
        searched = f" ({details['decoder']})" if details.get("decoder") else ""
        parts.append(f"{rate} {100 * details['wer']:.2f} %{searched}")
    if line.why:
        parts.append(line.why)
    return ", ".join(parts)
