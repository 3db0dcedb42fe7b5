"""Options for the rules of texts, of the commands that read a corpus, and what they tell of texts."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional

import typer

from asrctl.data import glyphs
from asrctl.messages import amounts
from asrctl.storage import files


class TextOptions(NamedTuple):
    """What was typed; None where nothing was. replace: the name of a file."""

    case: Optional[str] = None
    remove: Optional[str] = None
    language: Optional[str] = None
    replace: Optional[str] = None
    phonemes: Optional[str] = None

    def flags(self) -> Dict[str, Any]:
        """As RuleFlags takes them. Raises PresetError where the file of replacements is none."""
        from asrctl.config.preset_file import read_table

        table = None if self.replace is None else read_table(files.expanded(self.replace))
        return dict(self._asdict(), replace=table, replace_file=self.replace)


# As Typer takes them.
OPTIONS: Mapping[str, Any] = {
    "case": typer.Option(None, "--case", help="Case of the text: lower, upper or keep; default: lower."),
    "remove": typer.Option(
        None,
        "--remove",
        metavar="CHARS",
        help='Plain characters to drop from the text, such as ".,!" (\\u200b is one that can not be seen); letters in'
        " both cases, unless --case is keep.",
        callback=lambda text: None if text is None else glyphs.untyped(text),
    ),
    "language": typer.Option(
        None,
        "--language",
        metavar="CODE",
        help="Apply what is settled in how a language is written, such as tr, ar, he, fa or de-CH.",
    ),
    "replace": typer.Option(
        None, "--replace", metavar="FILE", help="Replace texts by others: a YAML file with lines TEXT: REPLACEMENT."
    ),
    "phonemes": typer.Option(
        None, "--phonemes", metavar="VOICE", help="Learn phonemes, as eSpeak NG speaks the text: en-us, de ..."
    ),
}


def lines(found: Mapping[str, Any], most: int = 8) -> List[str]:
    """What `data.text_report.TextReport.as_dict` says, for people."""
    if not found:
        return []
    rules = sorted(found["replacements"], key=lambda rule: -rule["count"])
    told = [
        f"replaced: {rule['text']!r} by {rule['replacement']!r} {amounts.count(rule['count'], 'time')} in "
        f"{amounts.count(rule['utterances'], 'utterance')}"
        for rule in rules[:most]
    ]
    if len(rules) > most:
        told.append(f"replaced: {amounts.count(len(rules) - most, 'more rule')}, listed by --json")
    for name, one in (("numbers", "number"), ("tags", "tag in brackets")):
        kept = found["left_alone"][name]
        if kept["count"]:
            shown = ", ".join(f"{text} {count}" for text, count in list(kept["most_frequent"].items())[:most])
            many = one if kept["count"] == 1 else one.replace("number", "numbers").replace("tag ", "tags ")
            told.append(
                f"left alone: {kept['count']} {many} in {amounts.count(kept['utterances'], 'utterance')}, "
                f"such as in {kept['example']}: {shown}"
            )
    return told
