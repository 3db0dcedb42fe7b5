"""An evaluation's gates as annotations of a GitHub workflow, and as a summary of its job."""

from __future__ import annotations

from typing import List, Sequence

from asrctl.evaluation.gates import Verdict


def commands(verdicts: Sequence[Verdict], told: str) -> List[str]:
    """Workflow commands, a line each: an error for each gate that was not met. told: the result in a sentence."""
    lines = [_command("notice", "asrctl eval", told)]
    for verdict in verdicts:
        if not verdict.passed:
            lines.append(_command("error", f"asrctl eval: {verdict.name}", verdict.message))
        elif verdict.too_small:
            lines.append(_command("warning", f"asrctl eval: {verdict.name}", verdict.message))
    return lines


def _command(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    # As actions/toolkit escapes them (packages/core/src/command.ts).
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary(verdicts: Sequence[Verdict], told: str) -> str:
    """Markdown."""
    lines = ["### asrctl eval", "", _escaped(told), ""]
    if verdicts:
        lines += ["| gate | | |", "| --- | --- | --- |"]
        for verdict in verdicts:
            state = "passed" if verdict.passed else "**failed**"
            lines.append(f"| {_escaped(verdict.name)} | {state} | {_escaped(verdict.message)} |")
        lines.append("")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    for sign in "\\|`*_[":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split())
