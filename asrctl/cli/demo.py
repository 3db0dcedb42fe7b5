"""`asrctl demo`: every stage, on a corpus that the machine speaks itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List

from asrctl.cli import options
from asrctl.cli.report import Output, session, table
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.demo import DemoResult

EPILOG = options.examples("asrctl demo", "asrctl demo --force --json")


def command(
    force: bool = options.FORCE,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Make a small spoken corpus and run every stage on it, in minutes.

    Speech of about sixty words by many synthetic voices is learned from nothing, by the stages that you will use on
    your own recordings: vocab, prepare, train, eval, export. The test is on voices that training never heard.
    """
    with session("demo", Output(json, verbose, workspace)) as report:
        from asrctl.commands.demo import demo
        from asrctl.storage.workspace import Workspace

        result = demo(Workspace(workspace), force=force, emit=report.emit)
        report.done(result.as_dict(), lines=_lines(result))


def _lines(result: "DemoResult") -> List[str]:
    lines = ["", "What was said, and what the model wrote:"]
    for transcript in result.transcripts:
        lines += [f"  said   {transcript.reference}", f"  wrote  {transcript.hypothesis}   ({transcript.voice})", ""]
    rows = [
        (
            f"  {voice.name}",
            voice.utterances,
            f"{100 * voice.wer:.1f} %",
            "an accent new to it" if voice.new_accent else "",
        )
        for voice in result.voices
    ]
    lines += ["Word error rate by voice, none of which training heard:", *table(rows), ""]
    lines += [
        f"word error rate on {amounts.count(result.words, 'word')} of new sentences by new voices: "
        f"{100 * result.wer:.1f} %",
        f"the same with the recordings shuffled, to show that it listens: {100 * result.shuffled_wer:.1f} %",
        "",
        f"model   {result.model}",
        f"export  {result.export} (a Hugging Face folder)",
        "time    " + ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in result.seconds.items()),
    ]
    lines += [f"next    {command}" for command in result.next]
    return [*lines, "FOLDER  your own recordings, a .txt of the same name beside each"]
