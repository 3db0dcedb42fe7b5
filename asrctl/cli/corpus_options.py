"""Arguments and options of the commands that read a corpus."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import typer

from asrctl.cli.report import Report, hanging
from asrctl.data import glyphs
from asrctl.errors import UsageError
from asrctl.messages import amounts
from asrctl.storage import addresses, files

if TYPE_CHECKING:
    from asrctl.data.manifest import CorpusChoice

# Characters told with an example each.
_NOTABLE = 8

CORPUS = typer.Argument(..., help="Kind of corpus, one of those below; or a path, which tells the kind.")
# readable=False: what may not be read is told by the stage that tries, not as a mistake of the typist.
SOURCE = typer.Argument(
    None,
    help="Where the corpus lies: a folder, an archive, a list of recordings.",
    show_default=False,
)
TRAIN = typer.Option([], "--train", metavar="SPLIT", help="Corpus split for training. Repeatable.")
EVAL = typer.Option([], "--eval", metavar="SPLIT", help="Split that picks the best model; none: a tenth is held out.")
TEST = typer.Option([], "--test", metavar="SPLIT", help="Split for the last test, never used to choose. Repeatable.")
NAME = typer.Option(None, "--name", help="Name of the result; default: that of the corpus or file.")
ROOT = typer.Option(None, "--root", help="Refuse audio outside this folder.", readable=False)
NO_DOWNLOAD = typer.Option(False, "--no-download", help="Never fetch anything; say what is missing instead.")


class OwnOptions(NamedTuple):
    """Options that only some corpora have.

    typed: {key: what was typed}. problems: a sentence on each corpus, or option of one, that can not be used.
    """

    typed: Mapping[str, Any] = {}
    problems: Sequence[str] = ()


def choice(
    corpus: str,
    source: Optional[str],
    *,
    train: Sequence[str],
    eval: Sequence[str],
    test: Sequence[str],
    root: Optional[Path],
    download: bool,
    name: Optional[str],
    own: OwnOptions,
    report: Report,
) -> "CorpusChoice":
    """The corpus that the options mean. Splits may be given one by one, or with commas between them.

    A path may stand where the kind of corpus belongs: `report` is told how it is understood. Raises UsageError.
    """
    from asrctl.data import corpora
    from asrctl.data.manifest import CorpusChoice
    from asrctl.data.split_roles import RoleFlags

    for problem in own.problems:
        report.warn(problem)
    corpus, own = _with_variant(corpus, own)
    kind, source = _understood(corpus, source, report)
    found = corpora.find(kind)
    corpora.options(found, own.typed)  # what makes no sense is refused before any work
    with found.blamed():
        is_address = source is not None and found.is_address(source)
    if source is not None and not (is_address and found.package is not None):
        is_address = is_address or _is_url(source, kind, report.command or "prepare")
    return CorpusChoice(
        kind,
        Path(source) if source is not None and not is_address else None,
        source if is_address else None,
        RoleFlags(train=words(train), eval=words(eval), test=words(test)),
        root,
        download,
        name,
        own.typed,
    )


def _with_variant(corpus: str, own: OwnOptions) -> Tuple[str, OwnOptions]:
    """CORPUS:NAME as the corpus and the option that NAME stands for. Raises UsageError where that is typed too."""
    from asrctl.data import corpora

    kind, _, name = corpus.partition(":")
    key = corpora.find(kind).variant if name and kind in corpora.names() else None
    if key is None:
        return corpus, own
    if own.typed.get(key, name) != name:
        raise UsageError(f"{corpus} and --{key} {own.typed[key]} contradict each other", fix="leave one of them out")
    return kind, own._replace(typed={**own.typed, key: name})


def _is_url(source: str, kind: str, command: str) -> bool:
    """Raises UsageError where a URL can not be fetched, or is better named otherwise."""
    if not addresses.is_address(source):
        return False
    if not addresses.is_known(source):
        scheme = source.partition("://")[0]
        raise UsageError(f"{scheme}:// is not read", fix="use s3://, gs://, hf:// or https://, or copy it here first")
    address = addresses.parsed(source)
    if not address.host:
        raise UsageError(f"{source} names no bucket or host", fix="write all of it, such as s3://BUCKET/FOLDER")
    if kind == "hub" and address.scheme == "hf" and address.host == "datasets":
        name = "/".join(address.path.split("/")[:2])
        raise UsageError(f"hub takes the name of a data set, not {source}", fix=f"type asrctl {command} hub {name}")
    return True


def _understood(corpus: str, source: Optional[str], report: Report) -> Tuple[str, Optional[str]]:
    """(kind of corpus, source), also where a path stands in the place of the kind. Raises UsageError."""
    from asrctl.data import corpora

    known = corpora.names()
    if corpus in known:
        return corpus, source
    if addresses.is_address(corpus) and source is None:
        example = f"asrctl {report.command} folder {shlex.quote(corpus)}"
        raise UsageError(f"{corpus} does not tell what kind of corpus lies there", fix=f"say so, such as {example}")
    path = files.expanded(corpus)
    if source is not None:
        return (source, str(path)) if source in known and path.exists() else (corpus, source)
    kind = corpora.kind_of(path)
    if kind is not None:
        report.note(f"{corpus} is read as a corpus of kind {kind}")
        return kind, str(path)
    if path.exists():
        listing = f"`asrctl {report.command} --help` lists what can be read"
        raise UsageError(
            f"{corpus} is no corpus", fix=f"give a folder, an archive, or a CSV, TSV or JSONL file; {listing}"
        )
    if "/" in corpus or path.suffix:
        line = f"asrctl {report.command} folder {shlex.quote(corpus)}"
        raise UsageError(f"{corpus} is neither a kind of corpus nor there", fix=f"correct the path, and type {line}")
    return corpus, source


def typed(chosen: "CorpusChoice") -> List[str]:
    """The words that mean the same to another command."""
    found = [chosen.corpus] + ([chosen.place] if chosen.place is not None else [])
    splits = chosen.splits
    for option, values in (("--train", splits.train), ("--eval", splits.eval), ("--test", splits.test)):
        found += [word for value in values for word in (option, value)]
    for option, given in (("--root", chosen.root), ("--name", chosen.name)):
        found += [option, str(given)] if given is not None else []
    for key, value in chosen.options.items():
        flag = f"--{key.replace('_', '-')}"
        several = [value] if isinstance(value, str) else value
        found += [flag] if value is True else [word for one in several for word in (flag, one)]
    return found + ([] if chosen.download else ["--no-download"])


def words(values: Sequence[str]) -> "tuple":
    """("a,b", "c") -> ("a", "b", "c")."""
    return tuple(word.strip() for value in values for word in value.split(",") if word.strip())


def unused(splits: Mapping[str, int], most: int = 10) -> List[str]:
    """A line on the utterances of splits that have no role, if there are any."""
    shown = [f"{name} {count}" for name, count in list(splits.items())[:most]]
    more = f" and {len(splits) - most} more {amounts.noun(len(splits) - most, 'split')}" if len(splits) > most else ""
    return [f"not used: {', '.join(shown)}{more}"] if splits else []


def characters(counts: "dict", most: int = 60) -> List[str]:
    """{"e": 12} -> ["e 12"], the most frequent first; the space is shown as a word."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{glyphs.shown(character)} {count}" for character, count in ordered[:most]]
    return shown + ([f"and {len(ordered) - most} more"] if len(ordered) > most else [])


def alphabet(found: Mapping[str, Any], letters: int = 30) -> List[str]:
    """A few lines on what becomes a label, and what to type where some of it should not. letters: that are listed."""
    if not found:
        return []
    notable = found["notable"]
    odd = {item["character"] for item in notable if item["kind"] != "letter"}
    plain = {one: count for one, count in found["characters"].items() if one not in odd}
    lines = _listed("letters: ", characters(plain, letters)) if letters else []
    lines += _listed("also labels: ", characters({one: found["characters"][one] for one in odd}, 2 * _NOTABLE))
    rare = [
        f"{glyphs.shown(item['character'])} {item['count']} in {item['example']}" for item in notable if item["is_rare"]
    ]
    lines += _listed("rare: ", rare[:_NOTABLE] + ([f"and {len(rare) - _NOTABLE} more"] if len(rare) > _NOTABLE else []))
    if any(item["kind"] == "digit" for item in notable):
        lines.append("digits are learned as letters are: write numbers as they are spoken")
    proposal = found["proposal"]
    if proposal is not None:
        again = proposal["command"] or f"add {proposal['option']}"
        lines += [f"to leave signs out: {again}", f"  or in a preset: {proposal['preset']}"]
    return lines


def _listed(lead: str, items: Sequence[str]) -> List[str]:
    """The items between commas, as many lines as it takes; nothing where there are none."""
    kept = hanging(lead, ", ".join(item.replace(" ", "\u00a0") for item in items)) if items else []
    return [line.replace("\u00a0", " ") for line in kept]
