"""`asrctl vocab`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional

import typer

from asrctl.cli import corpus_command, options, text_options
from asrctl.cli import corpus_options as corpora
from asrctl.cli.report import Output, session
from asrctl.cli.text_options import TextOptions
from asrctl.data import glyphs
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.vocab import VocabResult

# A tokenizer of pieces of words has thousands.
_TOKENS = 300
# Beside those of the corpora.
EXAMPLES = (
    "asrctl vocab librispeech LibriSpeech --train train-clean-100 --splits train,eval",
    'asrctl vocab manifest utterances.csv --case upper --remove ".,!?"',
    "asrctl vocab folder recordings --from facebook/wav2vec2-base-960h --case upper",
)


def command(
    corpus: str = corpora.CORPUS,
    source: Optional[str] = corpora.SOURCE,
    splits: List[str] = typer.Option([], "--splits", help="Splits that make the vocabulary; default: train."),
    train: List[str] = corpora.TRAIN,
    eval: List[str] = corpora.EVAL,
    test: List[str] = corpora.TEST,
    checkpoint: Optional[str] = typer.Option(
        None, "--from", metavar="CHECKPOINT", help="Use the tokenizer of this folder or hub name, and check it."
    ),
    from_language: Optional[str] = typer.Option(
        None, "--from-language", metavar="LANGUAGE", help="Which vocabulary of a checkpoint of many languages (MMS)."
    ),
    word_delimiter: Optional[str] = typer.Option(None, "--word-delimiter", help="Token for the space; default: |."),
    unk: Optional[str] = typer.Option(None, "--unk", help="Token for unknown characters; default: [UNK]."),
    pad: Optional[str] = typer.Option(None, "--pad", help="Token for padding and the CTC blank; default: [PAD]."),
    name: Optional[str] = corpora.NAME,
    preset: Optional[str] = options.PRESET,
    root: Optional[Path] = corpora.ROOT,
    no_download: bool = corpora.NO_DOWNLOAD,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
    text: TextOptions = TextOptions(),
    own: corpora.OwnOptions = corpora.OwnOptions(),
) -> None:
    """Build the character vocabulary of a corpus, or check that of a checkpoint against it."""
    with session("vocab", Output(json, verbose, workspace)) as report:
        from asrctl.commands.rule_flags import RuleFlags
        from asrctl.commands.vocab import VocabRequest, vocab
        from asrctl.storage.workspace import Workspace

        flags = RuleFlags(
            preset=preset,
            word_delimiter=word_delimiter,
            unk=unk,
            pad=pad,
            vocab_splits=corpora.words(splits) or None,
            **text.flags(),
        )
        choice = corpora.choice(
            corpus,
            source,
            train=train,
            eval=eval,
            test=test,
            root=root,
            download=not no_download,
            name=name,
            own=own,
            report=report,
        )
        place = Workspace(workspace)
        command = place.named(("asrctl", *sys.argv[1:]))
        result = vocab(place, VocabRequest(choice, flags, checkpoint, command, from_language), report.emit)
        words = corpora.typed(choice)
        if preset is not None and checkpoint is None and flags == RuleFlags(preset=preset):
            # Together with other rules than its own, the preset would contradict the vocabulary.
            words += ["--preset", preset]
        report.done(result.as_dict(), result_lines(result, place.command("prepare", *words)))


def build(name: str) -> Any:
    """The command with the options of all corpora, which its help lists."""
    return corpus_command.build(name, command, EXAMPLES, most=1)


def result_lines(result: "VocabResult", following: str) -> List[str]:
    """Tokens, what is beyond them, and what to type next."""
    lines = [
        f"{amounts.count(len(result.tokens), 'token')} from {', '.join(result.splits)}: "
        f"{' '.join(map(_token, result.tokens[:_TOKENS]))}{' ...' if len(result.tokens) > _TOKENS else ''}",
        f"characters: {', '.join(corpora.characters(dict(result.characters)))}",
    ]
    for group, found in result.beyond.items():
        lines.append(f"beyond the vocabulary in {group}: {', '.join(corpora.characters(dict(found)))}")
    return lines + [
        *corpora.alphabet(result.alphabet, letters=0),
        *text_options.lines(result.texts),
        *corpora.unused(result.unused),
        f"vocabulary {result.name}: {result.path}",
        f"next: {following}",
    ]


def _token(token: str) -> str:
    return glyphs.shown(token) if len(token) == 1 else token
