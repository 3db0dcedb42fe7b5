"""Multilingual LibriSpeech (Pratap et al. 2020): SPLIT/transcripts.txt and SPLIT/audio/SPEAKER/BOOK/ID.flac (or .opus).

Its README: a line "ID<tab>TEXT" for each recording, whose ID is SPEAKER_BOOK_NUMBER; train/limited_supervision/ has
lists of IDs: 9hr/handles.txt, and 1hr/N/handles.txt of ten minutes each, which with those of 9hr make the 10 hours of
the paper. segments.txt says where in LibriVox' recordings these come from, and nothing about the files that are here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, List, Mapping, Optional, Set, Tuple

from asrctl.data.corpus import SPLIT_NAMES, Corpus, CorpusRequest, Match, named_as_folder
from asrctl.data.reading import tables
from asrctl.data.reading.places import Endings, corpus_folder, inner
from asrctl.data.reading.tally import Tally
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData, UsageError
from asrctl.events import Warned
from asrctl.messages import amounts

_TRANSCRIPTS, _HANDLES = "transcripts.txt", "handles.txt"
_WHOLE = ("train", "dev", "test")
_LIMITED = Path("train", "limited_supervision")
_PARTS = tuple(f"1hr/{number}" for number in range(6))
# Splits of limited supervision, each with the lists that it is made of.
_LISTS: Mapping[str, Tuple[str, ...]] = {
    "9hr": ("9hr",),
    "1hr": _PARTS,
    "10hr": ("9hr", *_PARTS),
    **{part: (part,) for part in _PARTS},
}
_ID = re.compile(r"([^\W_]+)_([^\W_]+)_\w+")


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """The utterances of the wanted splits. Raises BadData, UsageError."""
    has = f"train/, dev/ and test/ with {_TRANSCRIPTS}"
    folder = corpus_folder(CORPUS.needed(request), _is_corpus, what="Multilingual LibriSpeech", has=has)
    _check(folder, request)
    bad, lost = Tally(), Tally()
    for split in request.splits + request.optional_splits:
        if not _is_there(folder, split):
            continue
        chosen = _handles(folder, split, request)
        inside = folder / ("train" if split in _LISTS else split)
        request.before_reading(str(inside / _TRANSCRIPTS))
        yield from _read(inside, split, chosen, bad, lost)
        if chosen:
            # What a list names and no transcript has is listed as rejected.
            for name in sorted(chosen):
                bad.add(f"{name} of {split} has no line in {inside / _TRANSCRIPTS}")
                yield Utterance(name, str(inside / "audio" / f"{name}.flac"), "", split)
    if bad:
        request.emit(Warned(f"{amounts.count(bad.count, 'line')} can not be read: {bad.first}"))
    if lost:
        request.hint("no-audio", f"fetch the corpus again: its transcripts name recordings that it lacks: {lost.first}")


def _read(folder: Path, split: str, chosen: Optional[Set[str]], bad: Tally, lost: Tally) -> Iterator[Utterance]:
    """Lines of transcripts. chosen: IDs, which are taken out as they are met; None: all lines."""
    endings = Endings(".flac", ".opus")
    for number, line in tables.lines(folder / _TRANSCRIPTS):
        name, *texts = line.split("\t" if "\t" in line else None, 1)
        name = name.strip()
        if chosen is not None:
            if name not in chosen:
                continue
            chosen.discard(name)
        parts = _ID.fullmatch(name)
        if parts is None:
            bad.add(f"{folder / _TRANSCRIPTS}, line {number}: {name[:40]!r} is not SPEAKER_BOOK_NUMBER")
            yield Utterance(f"{split}-line-{number}", str(folder / "audio" / f"line {number}"), "", split)
            continue
        stem = folder / "audio" / parts.group(1) / parts.group(2) / name
        audio = endings.find(stem)
        if audio is None:
            lost.add(f"{stem}.flac")
        text = texts[0].strip() if texts else ""
        yield Utterance(name, str(audio or f"{stem}.flac"), text, split, speaker=parts.group(1))


def _handles(folder: Path, split: str, request: CorpusRequest) -> Optional[Set[str]]:
    """The IDs of a split of limited supervision; None for a whole one."""
    if split not in _LISTS:
        return None
    found: Set[str] = set()
    for name in _LISTS[split]:
        path = folder / _LIMITED / name / _HANDLES
        if path.is_file() or not name.startswith("1hr"):
            request.before_reading(str(path))
            found.update(line.strip() for _, line in tables.lines(path))
    return found


def _is_there(folder: Path, split: str) -> bool:
    if split in _LISTS:
        return any((folder / _LIMITED / name / _HANDLES).is_file() for name in _LISTS[split])
    return (folder / split / _TRANSCRIPTS).is_file()


def _check(folder: Path, request: CorpusRequest) -> None:
    """Raises BadData where a split is not there, UsageError where two share utterances."""
    missing = [split for split in request.splits if not _is_there(folder, split)]
    known: List[str] = [split for split in (*_WHOLE, *_LISTS) if _is_there(folder, split)]
    if missing:
        raise BadData(
            f"{folder} has no split {', '.join(missing)} (it has {', '.join(known)})",
            fix=f"choose the splits, such as `--train {known[0]}`",
        )
    wanted = [split for split in request.splits + request.optional_splits if split == "train" or split in _LISTS]
    for at, split in enumerate(wanted):
        for other in wanted[at + 1 :]:
            if "train" in (split, other) or set(_LISTS[split]) & set(_LISTS[other]):
                raise UsageError(f"the splits {split} and {other} share utterances", fix="leave one of them out")


def _is_corpus(folder: Path) -> bool:
    return any((folder / split / _TRANSCRIPTS).is_file() and (folder / split / "audio").is_dir() for split in _WHOLE)


def _recognizes(path: Path) -> Match:
    is_one = path.is_dir() and (_is_corpus(path) or bool(inner(path, _is_corpus)))
    return Match.CERTAIN if is_one else Match.NO


CORPUS = Corpus(
    name="mls",
    help="Multilingual LibriSpeech of one language, as FLAC or Opus; also its splits 9hr, 1hr, 1hr/0 and 10hr.",
    read=utterances,
    source="FOLDER",
    examples=("mls_polish", "mls_polish_opus --train 10hr"),
    splits={"train": ("train",), "eval": ("dev",), "test": ("test",)},
    split_names={
        **{name: "dev" if role == "eval" else role for name, role in SPLIT_NAMES.items()},
        **{
            f"{lead}{split}": split
            for split in _LISTS
            for lead in ("limited_supervision/", "train/limited_supervision/")
        },
    },
    recognizes=_recognizes,
    default_name=named_as_folder,
)
