"""What `asrctl eval` writes for CI: a JUnit file, and a summary for GitHub."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import List, Optional, Sequence

from asrctl.commands.evaluate import EvaluateResult
from asrctl.evaluation.gates import Verdict
from asrctl.events import Emit, Warned
from asrctl.reports import github, junit
from asrctl.storage import files, output_files
from asrctl.storage.output_files import OutputFile
from asrctl.storage.redact import redact
from asrctl.storage.workspace import Workspace

_SUMMARY = "GITHUB_STEP_SUMMARY"


def junit_file(workspace: Workspace, path: Path) -> OutputFile:
    """What --junit means. An earlier one of ours is replaced: every run of CI writes it.

    Raises UsageError, OSError.
    """
    return output_files.meant(workspace, path, _is_junit, what="asrctl's JUnit file", replace=True)


def _is_junit(path: Path) -> bool:
    with files.open_regular(path, fix="choose another name") as stream:
        return junit.MARK.encode("ascii") in stream.read(4096)


def write_junit(output: OutputFile, result: EvaluateResult, verdicts: Sequence[Verdict]) -> None:
    """Raises UsageError, OSError."""
    now = datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec="seconds")
    text = junit.render(verdicts, what=sentence(result), seconds=result.seconds or 0.0, timestamp=now)
    with output.written() as temporary:
        files.write_text(temporary, redact(text))


def github_lines(result: EvaluateResult, verdicts: Sequence[Verdict], emit: Emit) -> List[str]:
    """Annotations; the job's summary is written where GitHub says."""
    place: Optional[str] = os.environ.get(_SUMMARY)
    told = sentence(result)
    if place:
        try:
            with open(place, "a", encoding="utf-8") as stream:
                stream.write(redact(github.summary(verdicts, told)) + "\n")
        except OSError as error:
            emit(Warned(f"the summary could not be written to {_SUMMARY} ({error.strerror})"))
    return [redact(line) for line in github.commands(verdicts, told)]


def sentence(result: EvaluateResult) -> str:
    """The result in one."""
    found = result.metrics
    bounds = found.wer_interval
    interval = "" if bounds is None else f" (95 %: {100 * bounds[0]:.2f} - {100 * bounds[1]:.2f} %)"
    what = result.run or str(result.model)
    return f"{what} on {found.split} of {result.data}: {found.rate_name} {100 * found.wer:.2f} %{interval}"
